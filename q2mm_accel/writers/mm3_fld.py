"""MM3* parameters (.fld) as a substructure that q2mm and MacroModel read, and a .mol2 with types of atoms for each molecule.

Units: bonds in mdyn/Å and angles in mdyn Å/rad² by q2mm's factors (MacroModel's own for bonds is smaller by 3.7e-4 of it),
torsions in kcal/mol of V/2 (1 ± cos n φ), + for n = 1 and 3 and - for n = 2. A term with the other sign has -V here: its
energy is lower by a constant, which the file names; forces are the same. Columns have ten characters, about eight digits.
"""

from collections.abc import Sequence

from q2mm_accel.errors import FormatError
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.system import System
from q2mm_accel.units import MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2
from q2mm_accel.writers.atom_types import AtomTypes, atom_types
from q2mm_accel.writers.holding import check_held, refusal
from q2mm_accel.writers.mol2 import mol2_text
from q2mm_accel.writers.names import short_names, title_of
from q2mm_accel.writers.nonbonded import common_factor
from q2mm_accel.writers.typed import refused, single_types, type_values

_SUFFIX = ".fld"
_WIDTH, _DECIMALS = 10, 8
_USUAL_PHASES = {1: 0.0, 2: 180.0, 3: 0.0}
"""Periodicity -> the phase that its sign stands for [degrees]."""
_OTHERS = (".json", ".system.xml", ".xml", ".prm")


def mm3_fld(systems: Sequence[System], forcefield: ForceField) -> tuple[str, list[str]]:
    """The text of the parameters, and of a .mol2 file for each different molecule.

    Raises:
        FormatError: a term that the format cannot hold, or an element whose types two letters cannot name.
    """
    check_held(_SUFFIX, systems, forcefield)
    types = atom_types(systems, forcefield, _SUFFIX)
    _check_pairs(types, forcefield)
    names = _mm3_names(types)
    lines = [" C  OPT Written by q2mm_accel", " 9  AUTO"]
    for mark, kind, unit in ((1, "bond", MDYNA_TO_KCALMOLA2), (2, "angle", MDYNA_RAD2_TO_KCALMOLRAD2)):
        for row, number in single_types(types, forcefield, kind, _SUFFIX).items():
            k, rest = type_values(forcefield, kind, number)
            lines.append(_line(mark, [names[each] for each in row], [rest, k / unit]))
    torsions, shifts = _torsions(types, forcefield, names)
    lines += [*torsions, "-3"]
    shifted = [f" C  Energies of {name} are lower by {value!r} kcal/mol here" for name, value in shifts.items() if value]
    texts = [
        mol2_text(system, forcefield, [names[each] for each in types.of_atoms[number]])
        for number, system in enumerate(types.molecules)
    ]
    return "\n".join([*lines, *shifted, *_vdw(types, forcefield, names)]) + "\n", texts


def _mm3_names(types: AtomTypes) -> list[str]:
    """Names of classes whose first letter is the element; elements of two letters have one class, named as they are."""
    names = [*short_names(types, _SUFFIX)]
    symbols = [types.molecules[number].molecule.symbols[atom] for number, atom in types.examples]
    for number, symbol in enumerate(symbols):
        if len(symbol) > 1 and symbols.count(symbol) > 1:
            raise FormatError(
                f"{_SUFFIX} has names of two characters for types of atoms, and {symbol} would need {symbols.count(symbol)} "
                "that all begin with it. Write .xml or .prm."
            )
        names[number] = symbol.upper() if len(symbol) > 1 else names[number]
    return names


def _check_pairs(types: AtomTypes, forcefield: ForceField) -> None:
    factor = common_factor(types.molecules, forcefield, "vdw", _SUFFIX)
    if factor != 1.0:
        system = next(system for system in types.molecules if "vdw" in system.pair_kinds)
        raise refusal(_SUFFIX, system, forcefield, "vdw", 0, f"has no factor {factor:g} of 1-4 pairs", _OTHERS)


def _line(mark: int, names: Sequence[str], values: Sequence[float]) -> str:
    """A parameter line: names from the fifth character on, four apart, values from the twenty-fourth, eleven apart."""
    left = f" {mark}  " + "  ".join(f"{name:<2}" for name in names)
    return f"{left:<23}" + " ".join(_fixed(value) for value in values)


def _fixed(value: float) -> str:
    """A number in ten characters, with as many digits as they hold."""
    texts = (f"{value:.{decimals}f}" for decimals in range(_DECIMALS, -1, -1))
    fitting = next((text for text in texts if len(text) <= _WIDTH), None)
    if fitting is None:
        raise FormatError(f"{value!r} has more digits than the {_WIDTH} characters of a column in {_SUFFIX}. Write .json.")
    return fitting.rjust(_WIDTH)


def _torsions(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> tuple[list[str], dict[str, float]]:
    """Lines of V1, V2 and V3 [kcal/mol]; and by how much the energies of molecules are lower than ours."""
    lines, lowered = [], {number: 0.0 for number in range(forcefield.n_types("torsion"))}
    for row, numbers in types.tuples("torsion").items():
        values = dict.fromkeys(_USUAL_PHASES, 0.0)
        for number in numbers:
            k, periodicity, phase = type_values(forcefield, "torsion", number)
            turned = (phase - _USUAL_PHASES.get(round(periodicity), 0.0)) % 360.0
            if periodicity not in values or turned not in (0.0, 180.0):
                why = f"has torsions of the periodicities 1 to 3 with a sign, not {periodicity:g} and {phase:g} degrees"
                raise refused(_SUFFIX, types, forcefield, "torsion", number, why)
            values[round(periodicity)] += 2.0 * k if turned == 0.0 else -2.0 * k
            lowered[number] = 0.0 if turned == 0.0 else 2.0 * k
        lines.append(_line(4, [names[each] for each in row], [*values.values()]))
    of_molecules = ((title_of(system.molecule), system.torsion_types.tolist()) for system in types.molecules)
    return lines, {name: float(sum(lowered[number] for number in numbers)) for name, numbers in of_molecules}


def _vdw(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> list[str]:
    """The section of van der Waals parameters: radius [Å] and depth [kcal/mol]."""
    lines = []
    for name, (number, atom) in zip(names, types.examples, strict=True):
        system = types.molecules[number]
        if len(system.vdw_types):
            own = system.vdw_types[atom]
            values = float(forcefield.vdw_radii[own]), float(forcefield.vdw_epsilons[own])
            lines.append(f"  {name:<2} " + " ".join(_fixed(value) for value in values))
    return ["-6", *lines, " END OF NONBONDED INTERACTIONS", "-2"] if lines else []

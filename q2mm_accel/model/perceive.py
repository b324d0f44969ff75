"""From molecules to terms, types and a first force field, so that quantum-chemical data alone are enough to start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from q2mm_accel.errors import ParameterError, TopologyError
from q2mm_accel.model import topology
from q2mm_accel.model.arguments import real_array, truth
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, form_named
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.system import System
from q2mm_accel.units import MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2

START_BOND = 5.0 * MDYNA_TO_KCALMOLA2
"""Force constant of a bond to start from [kcal/mol/Å²]: q2mm's 5 mdyn/Å."""
START_ANGLE = 0.5 * MDYNA_RAD2_TO_KCALMOLRAD2
"""Force constant of an angle to start from [kcal/mol/rad²]: q2mm's 0.5 mdyn Å/rad²."""
START_UREY_BRADLEY = 10.0
"""Force constant of a Urey-Bradley term to start from [kcal/mol/Å²]: soft beside the bonds."""

_UFF_TABLE = """
H 2.886 0.044   Li 2.451 0.025  B 4.083 0.180   C 3.851 0.105   N 3.660 0.069   O 3.500 0.060   F 3.364 0.050
Na 2.983 0.030  Mg 3.021 0.111  Si 4.295 0.402  P 4.147 0.305   S 4.035 0.274   Cl 3.947 0.227  K 3.812 0.035
Ca 3.399 0.238  Fe 2.912 0.013  Co 2.872 0.014  Ni 2.834 0.015  Cu 3.495 0.005  Zn 2.763 0.124  Br 4.189 0.251
Ru 2.963 0.056  Rh 2.929 0.053  Pd 2.899 0.048  Ag 3.148 0.036  I 4.500 0.339   Ir 2.840 0.073  Pt 2.754 0.080
Au 3.293 0.039
"""
_WORDS = _UFF_TABLE.split()
UFF = {
    symbol: (float(distance) / 2.0, float(depth))
    for symbol, distance, depth in zip(_WORDS[::3], _WORDS[1::3], _WORDS[2::3], strict=True)
}
"""Element -> half the distance of the van der Waals minimum [Å] and its depth [kcal/mol]. Rappé et al., J. Am. Chem.
Soc. 1992, 114, 10024, table 1 (x and D)."""


@dataclass
class _Terms:
    """The terms of one kind in one molecule: atoms, the class of each (its label first), measured values, factors."""

    atoms: np.ndarray
    classes: list[tuple]
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    factors: np.ndarray | None = None


def perceive(
    molecules: Iterable[Molecule],
    form: str = "harmonic",
    by: str = "element",
    bond_tolerance: float = 1.3,
    periodicities: Sequence[int] = (1, 2, 3),
    torsions: bool = True,
    impropers: bool = False,
    vdw: bool = False,
    urey_bradley: bool = False,
) -> tuple[list[System], ForceField]:
    """The terms of all molecules, their types, and a force field to start from.

    Terms of one class share a type over all molecules. Equilibrium values are means over the terms of a type; the force
    constants are only a start (`estimate_force_constants` improves those of bonds and angles), 0 for torsions.
    Molecules may consist of several fragments; nothing but van der Waals terms acts between them.

    Args:
        molecules: at least one.
        form: name of the functional form, "harmonic", "mm3", "amber" or one that was registered.
        by: "element" types atoms by their element, "environment" also by their neighbours' elements, as in "C(CHHH)".
        bond_tolerance: two atoms nearer than this times the sum of their covalent radii are bonded; transition states
            need 1.4 to 1.5.
        periodicities: every proper torsion gets one type for each of these, with phase 0.
        torsions: whether to add proper torsions.
        impropers: whether to add an improper torsion (periodicity 2, phase 180 degrees) at planar atoms with three
            neighbours.
        vdw: whether to add van der Waals terms, all pairs but 1-2 and 1-3, with the radii and well depths of UFF; 1-4 pairs
            with the form's factor (1/2 in "amber", 1 in "harmonic" and "mm3").
        urey_bradley: whether to add a distance term between the outer atoms of every angle, typed by the angle's class;
            none where these atoms are bonded (three-membered rings).

    Returns:
        One System per molecule, in their order, and the force field; types are in the order of their first appearance.

    Raises:
        TopologyError: no molecules, an unknown `by`, an element without covalent radius.
        ParameterError: malformed periodicities, or an element without van der Waals parameters.
        FormError: no form of that name.

    Warns:
        UnmatchedTermWarning: torsions through a nearly linear angle were left out.

    Source: start values of force constants: q2mm (5 mdyn/Å, 0.5 mdyn Å/rad²); van der Waals: Rappé et al., J. Am. Chem.
    Soc. 1992, 114, 10024.
    """
    molecules = _checked(molecules, by, periodicities)
    for name, value in (("torsions", torsions), ("impropers", impropers), ("vdw", vdw), ("urey_bradley", urey_bradley)):
        truth(value, name, ParameterError)
    periodicities = periodicities if torsions else ()
    one_four = form_named(form).one_four.get("vdw", 1.0)
    how = (by, bond_tolerance, periodicities, impropers, one_four if vdw else None, urey_bradley)
    terms = [_terms(molecule, *how) for molecule in molecules]
    systems: list[dict] = [{} for _ in molecules]
    parameters: dict = {}
    labels: list[str] = []
    for kind in ("bond", "angle", "torsion", "vdw", "urey_bradley"):
        types, classes = _number([found[kind].classes for found in terms])
        for arguments, found, own in zip(systems, terms, types, strict=True):
            arguments["vdw_pairs" if kind == "vdw" else f"{kind}_atoms"] = found[kind].atoms
            if found[kind].factors is not None:
                arguments[f"{kind}_factors"] = found[kind].factors
            arguments[f"{kind}_types"] = own
        parameters.update(_parameters(kind, classes, types, [found[kind].values for found in terms]))
        suffixes = [parameter.label for parameter in KINDS[kind].parameters]
        labels += [f"{label} {suffix}" for label, *_ in classes for suffix in suffixes]
    return (
        [System(molecule, **arguments) for molecule, arguments in zip(molecules, systems, strict=True)],
        ForceField(form=form, **parameters, labels=labels),
    )


def type_means(types: Sequence[np.ndarray], values: Sequence[np.ndarray], default: np.ndarray) -> np.ndarray:
    """Means of `values` by type, shape (n_types,); `types` and `values` hold one array, shape (n_terms,), per molecule.

    A type without terms gets its entry of `default`, shape (n_types,).
    """
    all_types, all_values = np.concatenate(types), np.concatenate(values)
    counts = np.bincount(all_types, minlength=len(default))
    sums = np.bincount(all_types, weights=all_values, minlength=len(default))
    return np.where(counts > 0, sums / np.maximum(counts, 1), default)


def _checked(molecules: Iterable[Molecule], by: str, periodicities: Sequence[int]) -> list[Molecule]:
    listed = [] if isinstance(molecules, Molecule) or not isinstance(molecules, Iterable) else list(molecules)
    if not listed or not all(isinstance(molecule, Molecule) for molecule in listed):
        raise TopologyError("molecules: perceive needs a list of at least one Molecule; pass [molecule] for a single one.")
    if by not in ("element", "environment"):
        raise TopologyError(f'by is {by!r}; atoms can be typed by "element" or by "environment".')
    numbers = real_array(periodicities, "periodicities", ParameterError, ndim=1)
    if len(set(numbers)) < len(numbers) or np.any((numbers < 1) | (numbers != np.round(numbers))):
        raise ParameterError(f"periodicities are {tuple(periodicities)}; give different integers from 1.")
    return listed


def _terms(
    molecule: Molecule,
    by: str,
    tolerance: float,
    periodicities: Sequence[int],
    impropers: bool,
    one_four: float | None,
    outer: bool,
) -> dict[str, _Terms]:
    bonds = topology.bonds(molecule, tolerance)
    angles = topology.angles(bonds)
    names = topology.environments(molecule, bonds) if by == "environment" else list(molecule.symbols)
    coordinates = molecule.coordinates
    no_pairs = np.zeros((0, 2), dtype=np.int64)
    return {
        "bond": _Terms(bonds, _classes("bond", names, bonds), topology.distances(coordinates, bonds)),
        "angle": _Terms(angles, _classes("angle", names, angles), topology.angle_values(coordinates, angles)),
        "torsion": _torsion_terms(molecule, bonds, names, periodicities, impropers),
        "vdw": _Terms(no_pairs, []) if one_four is None else _vdw_terms(molecule, bonds, names, one_four),
        "urey_bradley": _outer_terms(coordinates, bonds, angles, names) if outer else _Terms(no_pairs, []),
    }


def _torsion_terms(
    molecule: Molecule, bonds: np.ndarray, names: Sequence[str], periodicities: Sequence[int], impropers: bool
) -> _Terms:
    """Torsions and impropers; their classes also carry periodicity and phase [degrees]."""
    rows: list[np.ndarray] = [np.zeros((0, 4), dtype=np.int64)]
    classes: list[tuple] = []
    if len(periodicities):
        proper = topology.torsions(molecule, bonds)
        rows.append(np.repeat(proper, len(periodicities), axis=0))
        classes += [
            (f"{label} n={n}", int(n), 0.0) for (label,) in _classes("torsion", names, proper) for n in periodicities
        ]
    if impropers:
        improper = topology.impropers(molecule, bonds)
        rows.append(improper)
        classes += [(f"improper {'-'.join(_words(names, row))} n=2", 2, 180.0) for row in improper.tolist()]
    return _Terms(np.concatenate(rows), classes)


def _vdw_terms(molecule: Molecule, bonds: np.ndarray, names: Sequence[str], one_four: float) -> _Terms:
    """Pairs; the classes are those of the atoms and carry radius [Å] and well depth [kcal/mol]."""
    for atom, symbol in enumerate(molecule.symbols):
        if symbol not in UFF:
            raise ParameterError(
                f"{molecule.name}: atom {atom} ({symbol}) has no van der Waals parameters here; known are "
                f"{', '.join(UFF)}. Pass vdw=False, or build the ForceField and System with values of your own."
            )
    classes = [(f"vdw {name}", *UFF[symbol]) for name, symbol in zip(names, molecule.symbols, strict=True)]
    pairs = topology.vdw_pairs(molecule.n_atoms, bonds)
    return _Terms(pairs, classes, factors=_factors(pairs, molecule.n_atoms, bonds, one_four))


def _factors(pairs: np.ndarray, n_atoms: int, bonds: np.ndarray, one_four: float) -> np.ndarray | None:
    """That of 1-4 pairs and 1 for all others, shape (n_pairs,); None where all are 1."""
    if one_four == 1.0:
        return None
    bonded = np.zeros((n_atoms, n_atoms), dtype=np.int64)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = 1
    three_apart = bonded @ bonded @ bonded > 0  # or one bond apart, but such pairs are not among these
    return np.where(three_apart[pairs[:, 0], pairs[:, 1]], one_four, 1.0)


def _outer_terms(coordinates: np.ndarray, bonds: np.ndarray, angles: np.ndarray, names: Sequence[str]) -> _Terms:
    """Urey-Bradley terms. Two angles of a four-membered ring span the same pair: it counts once per class."""
    bonded = set(map(tuple, bonds.tolist()))
    classes = _classes("urey_bradley", names, angles)
    terms = dict.fromkeys(
        ((i, k), key) for (i, _, k), key in zip(angles.tolist(), classes, strict=True) if (i, k) not in bonded
    )
    pairs = np.array([pair for pair, _ in terms], dtype=np.int64).reshape(-1, 2)
    return _Terms(pairs, [key for _, key in terms], topology.distances(coordinates, pairs))


def _classes(kind: str, names: Sequence[str], rows: np.ndarray) -> list[tuple[str]]:
    """Labels such as ("angle F-C-H",), the same in either direction."""
    words = [_words(names, row) for row in rows.tolist()]
    return [(f"{kind} {'-'.join(min(word, word[::-1]))}",) for word in words]


def _words(names: Sequence[str], atoms: Iterable[int]) -> tuple[str, ...]:
    return tuple(names[int(atom)] for atom in atoms)


def _number(classes: Iterable[list[tuple]]) -> tuple[list[np.ndarray], list[tuple]]:
    """Types of all terms, counted in the order in which their classes first appear, and these classes."""
    numbers: dict[tuple, int] = {}
    types = [np.array([numbers.setdefault(key, len(numbers)) for key in own], dtype=np.int64) for own in classes]
    return types, list(numbers)


def _parameters(kind: str, classes: list[tuple], types: list[np.ndarray], values: list[np.ndarray]) -> dict:
    """The fields of ForceField for one kind of term."""
    n_types = len(classes)
    if kind == "torsion":
        return {
            "torsion_force_constants": np.zeros(n_types),
            "torsion_periodicities": [n for _, n, _ in classes],
            "torsion_phases": [phase for _, _, phase in classes],
        }
    first, second = KINDS[kind].fields
    if kind == "vdw":
        return {first: [radius for _, radius, _ in classes], second: [depth for _, _, depth in classes]}
    start = {"bond": START_BOND, "angle": START_ANGLE, "urey_bradley": START_UREY_BRADLEY}[kind]
    return {first: np.full(n_types, start), second: type_means(types, values, np.zeros(n_types))}

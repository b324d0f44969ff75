"""AMBER topologies (.prmtop, .parm7): one molecule, every term by its atoms.

Units: kcal/mol, Å and radians; springs are k x² as ours, torsions k (1 + cos(n φ - γ)) too. Charges are multiplied with
18.2223 as Amber has it, and scaled so that a program with the Coulomb constant of OpenMM counts our energy; Amber's own
programs, whose constant is 18.2223², then count 3.4e-5 less of it. Lennard-Jones pairs are A/r¹² - B/r⁶ by types, so that
every way to combine parameters can stand here. A pair that counts in part takes its factors from a torsion between its
atoms, which has no barrier where the force field has none.

Urey-Bradley terms and harmonic dihedrals stand in the sections that CHAMBER gave to topologies of the CHARMM force field;
the file then calls itself one.

An own writer of the fixed format: ParmEd, which could do it, is a source package that needs a C++ compiler.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import CHARGE_SCALE, combined_values, term_values
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import PairKind, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.units import DEGREE
from q2mm_accel.writers.holding import able, check_held
from q2mm_accel.writers.names import atom_names, atomic_number, residue_names, title_of
from q2mm_accel.writers.nonbonded import pair_factors, pair_table, special_pairs
from q2mm_accel.writers.typed import declared_kind

_SUFFIX = ".prmtop"
CHARGE_UNIT = 18.2223
"""What charges are multiplied with in the file."""
_BENT = 0.34
"""Least sine of the inner angles of a torsion without a barrier, that of 20 degrees."""
_NO_ENERGY = 1e20
"""The divisor of a 1-4 energy that is 0."""
_FORMATS = {"10I8": (10, "{:8d}"), "20a4": (20, "{:<4}"), "3E24.16": (3, "{:24.16E}")}
_STIFF = ("harmonic_dihedral", "harmonic_improper")


class Sections:
    """The lines of a file, section by section."""

    def __init__(self) -> None:
        """Begin with the line of the version; its date stays, so that files can be compared."""
        self.lines = ["%VERSION  VERSION_STAMP = V0001.000  DATE = 01/01/00  00:00:00"]

    def add(self, name: str, form: str, values: Iterable) -> None:
        """Add a section; the form says how many values stand in a line, and how."""
        self.lines += [f"%FLAG {name}", written_section(form, values).removesuffix("\n")]


def written_section(form: str, values: Iterable) -> str:
    """Values as they stand in a section, after the line that says how."""
    count, text = _FORMATS[form]
    words = [text.format(value) for value in values]
    rows = ["".join(words[start : start + count]).rstrip() for start in range(0, len(words), count)]
    return "\n".join([f"%FORMAT({form})", *(rows or [""])]) + "\n"


@dataclass
class _Terms:
    """Terms as (*atoms, place of their values), and the values."""

    rows: list[tuple[int, ...]] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, atoms: Sequence[int], values: Iterable[float]) -> None:
        """Add a term; equal values are one type."""
        key = tuple(values)
        if key not in self.values:
            self.values.append(key)
        self.rows.append((*atoms, self.values.index(key)))

    def columns(self) -> list[list[float]]:
        """The values of all types, one list for each parameter."""
        return [list(column) for column in zip(*self.values, strict=True)]


def amber_prmtop(system: System, forcefield: ForceField) -> str:
    """The text of an AMBER topology.

    Args:
        system: the molecule.
        forcefield: parameters of its terms.

    Raises:
        FormatError: a term that the format cannot hold.
    """
    check_held(_SUFFIX, [system], forcefield)
    factors = pair_factors(system, forcefield)
    terms = {kind: _springs(system, forcefield, kind) for kind in ("bond", "angle", "urey_bradley", *_STIFF)}
    torsions = _torsions(system, forcefield, factors)
    chamber = any(terms[kind].rows for kind in ("urey_bradley", *_STIFF))
    made, types = Sections(), _LennardJones.of(system, forcefield)
    excluded = _excluded(system.molecule.n_atoms, factors)
    made.add("CTITLE" if chamber else "TITLE", "20a4", [title_of(system.molecule)[:76]])
    made.add("POINTERS", "10I8", _pointers(system, terms, torsions, types, excluded))
    if chamber:
        made.lines += ["%FLAG FORCE_FIELD_TYPE", "%FORMAT(i2,a78)", " 1 CHARMM sections for springs over other distances"]
    _add_atoms(made, system, forcefield, types)
    made.add("NUMBER_EXCLUDED_ATOMS", "10I8", [max(len(each), 1) for each in excluded])
    made.add("NONBONDED_PARM_INDEX", "10I8", types.index())
    made.add("RESIDUE_LABEL", "20a4", residue_names(1))
    made.add("RESIDUE_POINTER", "10I8", [1])
    _add_parameters(made, terms, torsions)
    made.add("SOLTY", "3E24.16", [0.0] * types.count)
    for letter, column in zip("AB", types.coefficients(), strict=True):
        made.add(f"LENNARD_JONES_{letter}COEF", "3E24.16", column)
        if chamber:
            made.add(f"LENNARD_JONES_14_{letter}COEF", "3E24.16", column)
    _add_lists(made, system, terms, torsions)
    made.add("EXCLUDED_ATOMS_LIST", "10I8", [atom + 1 for each in excluded for atom in (each or [-1])])
    _add_rest(made, system, types)
    if chamber:
        _add_chamber(made, terms)
    return "\n".join(made.lines) + "\n"


def _springs(system: System, forcefield: ForceField, name: str) -> _Terms:
    """Terms with a force constant and an equilibrium, angles in radians."""
    kind, made = declared_kind(name), _Terms()
    if name in system.kinds:
        scale = [1.0, DEGREE if kind.parameters[1].unit == "degrees" else 1.0]
        values = (term_values(system, forcefield, kind) * scale).tolist()
        for atoms, row in zip(system.terms(name)[0].tolist(), values, strict=True):
            made.add(atoms, row)
    return made


def _torsions(system: System, forcefield: ForceField, factors: Mapping[tuple[int, int], tuple[float, float]]) -> _Terms:
    """Cosines as (k, n, phase [radian], divisors of the 1-4 energies), their atoms with Amber's signs.

    The third atom is negative where a torsion brings no 1-4 pair, and the fourth of impropers; counted from 1 here, so that
    every atom has a sign.
    """
    made, open_pairs = _Terms(), {pair: each for pair, each in factors.items() if each != (0.0, 0.0)}
    for name in ("torsion", "improper"):
        kind = declared_kind(name)
        if name not in system.kinds:
            continue
        for atoms, (k, n, phase) in zip(
            system.terms(name)[0].tolist(), term_values(system, forcefield, kind).tolist(), strict=True
        ):
            pair = (min(atoms[0], atoms[3]), max(atoms[0], atoms[3]))
            scaled = open_pairs.pop(pair, None) if name == "torsion" else None
            row = _signed(atoms, scaled is not None, name == "improper")
            made.add(row, (k, n, phase * DEGREE, *_divisors(scaled or (1.0, 1.0))))
    for pair, scaled in open_pairs.items():
        row = _signed(_between(system, forcefield, pair), True, False)
        made.add(row, (0.0, 1.0, 0.0, *_divisors(scaled)))
    return made


def _divisors(factors: tuple[float, float]) -> tuple[float, float]:
    """What Amber divides Coulomb and van der Waals energies by."""
    vdw, coulomb = (1.0 / factor if factor else _NO_ENERGY for factor in factors)
    return coulomb, vdw


def _signed(atoms: Sequence[int], brings_pair: bool, improper: bool) -> tuple[int, ...]:
    """Atoms counted from 1 with Amber's signs, in the order in which the first atom of all, which has none, needs none."""
    a, b, c, d = atoms if 0 not in atoms[2:] else atoms[::-1]
    return a + 1, b + 1, (c + 1) * (1 if brings_pair else -1), (d + 1) * (-1 if improper else 1)


def _between(system: System, forcefield: ForceField, pair: tuple[int, int]) -> tuple[int, ...]:
    """Four atoms with a pair at the ends: along bonds if these join them, else any two between, but none in line.

    A torsion through a straight angle has no derivative, and then a barrier of 0 is no help.
    """
    i, j = pair
    near = topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
    others = [atom for atom in range(system.molecule.n_atoms) if atom not in pair]
    rows = np.array([(i, k, m, j) for k in others for m in others if k != m], dtype=np.int64).reshape(-1, 4)
    angles = [topology.angle_values(system.molecule.coordinates, rows[:, start : start + 3]) for start in (0, 1)]
    sines = np.sin(np.radians(angles)).min(axis=0, initial=1.0)
    bonded = np.array([k in near[i] and m in near[k] and j in near[m] for _, k, m, _ in rows.tolist()], dtype=bool)
    for usable in (bonded & (sines > _BENT), sines > _BENT):
        if usable.any():
            return tuple(rows[np.argmax(np.where(usable, sines, 0.0))].tolist())
    raise FormatError(
        f"{system.molecule.name}: the pair {list(pair)} counts in part, for which {_SUFFIX} needs a torsion, and all atoms "
        f"are in line. Write {able(_SUFFIX, system, forcefield)}."
    )


@dataclass(frozen=True)
class _LennardJones:
    """Lennard-Jones types: of each atom (from 1), and radius [Å] and depth of every pair of types, shape (n, n, 2)."""

    of_atoms: list[int]
    values: np.ndarray

    @classmethod
    def of(cls, system: System, forcefield: ForceField) -> "_LennardJones":
        """The force field's types; one for each atom where pairs have values of their own."""
        size, given = system.molecule.n_atoms, special_pairs(system, forcefield)
        kind, own = kind_named("vdw"), system.vdw_types
        assert isinstance(kind, PairKind)
        if not len(own):
            own = np.zeros(size, dtype=np.int64)
            used, numbers = (np.arange(size), np.arange(size)) if given else (np.zeros(1, dtype=np.int64), own)
            values = np.tile([0.5, 0.0], (len(used), len(used), 1))
        else:
            used, numbers = (own, np.arange(size)) if given else np.unique(own, return_inverse=True)
            first, second = (each.ravel() for each in np.meshgrid(used, used, indexing="ij"))
            values = combined_values(system.molecule.name, forcefield, kind, first, second)
            values = values.reshape(len(used), len(used), 2)
        for (i, j), row in given.items():
            values[i, j] = values[j, i] = row
        return cls([int(number) + 1 for number in numbers], values)

    @property
    def count(self) -> int:
        """Number of types."""
        return len(self.values)

    def _pairs(self) -> list[tuple[int, int]]:
        """Pairs of types in the order of the coefficients."""
        return [(i, j) for i in range(self.count) for j in range(i + 1)]

    def index(self) -> list[int]:
        """Of all pairs of types the place of their coefficients, from 1."""
        places = {pair: place for place, pair in enumerate(self._pairs(), 1)}
        return [places[max(i, j), min(i, j)] for i in range(self.count) for j in range(self.count)]

    def coefficients(self) -> tuple[list[float], list[float]]:
        """A [kcal/mol Å¹²] and B [kcal/mol Å⁶] of E = A/r¹² - B/r⁶."""
        rows = [_coefficients(*self.values[pair].tolist()) for pair in self._pairs()]
        return [row[0] for row in rows], [row[1] for row in rows]


def lennard_jones_pairs(system: System, forcefield: ForceField) -> dict[tuple[int, int], tuple[float, float]]:
    """Coefficients A [kcal/mol Å¹²] and B [kcal/mol Å⁶] of all pairs of atoms (i, j), i < j, that have an energy."""
    table = pair_table(system, forcefield, "vdw")
    return {pair: _coefficients(*values.tolist()) for pair, (_, values) in table.items()}


def _coefficients(radius: float, depth: float) -> tuple[float, float]:
    return depth * (2.0 * radius) ** 12, 2.0 * depth * (2.0 * radius) ** 6


def _excluded(size: int, factors: Mapping[tuple[int, int], tuple[float, float]]) -> list[list[int]]:
    """Of each atom the later ones with which it has no pair in full."""
    return [[j for j in range(i + 1, size) if (i, j) in factors] for i in range(size)]


def _with_hydrogen(system: System, rows: Sequence[tuple[int, ...]], first: int) -> tuple[list, list]:
    """Terms with a hydrogen atom, and others; atoms are counted from `first` and may be negative."""
    kinds: tuple[list, list] = ([], [])
    for row in rows:
        hydrogen = any(system.molecule.symbols[abs(atom) - first] == "H" for atom in row[:-1])
        kinds[0 if hydrogen else 1].append(row)
    return kinds


def _pointers(system, terms: Mapping[str, _Terms], torsions: _Terms, types: _LennardJones, excluded: list) -> list[int]:
    bonds, angles = terms["bond"], terms["angle"]
    counts = [
        [len(each) for each in _with_hydrogen(system, of.rows, first)]
        for of, first in ((bonds, 0), (angles, 0), (torsions, 1))
    ]
    (bonds_h, bonds_x), (angles_h, angles_x), (torsions_h, torsions_x) = counts
    size, listed = system.molecule.n_atoms, sum(max(len(each), 1) for each in excluded)
    sizes = [len(bonds.values), len(angles.values), len(torsions.values), types.count, 0]
    some = [size, types.count, bonds_h, bonds_x, angles_h, angles_x, torsions_h, torsions_x, 0, 0, listed, 1]
    return [*some, bonds_x, angles_x, torsions_x, *sizes, *[0] * 8, size, 0, 0]


def _add_atoms(made: Sections, system: System, forcefield: ForceField, types: _LennardJones) -> None:
    molecule, own = system.molecule, system.coulomb_types
    charges = forcefield.coulomb_charges[own] if len(own) else np.zeros(molecule.n_atoms)
    made.add("ATOM_NAME", "20a4", atom_names(molecule))
    made.add("CHARGE", "3E24.16", (charges * CHARGE_SCALE * CHARGE_UNIT).tolist())
    made.add("ATOMIC_NUMBER", "10I8", map(atomic_number, molecule.symbols))
    made.add("MASS", "3E24.16", molecule.masses.tolist())
    made.add("ATOM_TYPE_INDEX", "10I8", types.of_atoms)


def _add_parameters(made: Sections, terms: Mapping[str, _Terms], torsions: _Terms) -> None:
    tables = {
        "BOND": (terms["bond"], ("FORCE_CONSTANT", "EQUIL_VALUE")),
        "ANGLE": (terms["angle"], ("FORCE_CONSTANT", "EQUIL_VALUE")),
        "DIHEDRAL": (torsions, ("FORCE_CONSTANT", "PERIODICITY", "PHASE")),
    }
    for name, (of, columns) in tables.items():
        filled = of.columns() or [[]] * len(columns)
        for column, values in zip(columns, filled, strict=False):
            made.add(f"{name}_{column}", "3E24.16", values)
    for name, values in zip(("SCEE", "SCNB"), (torsions.columns() or [[]] * 5)[3:], strict=True):
        made.add(f"{name}_SCALE_FACTOR", "3E24.16", values)


def _add_lists(made: Sections, system: System, terms: Mapping[str, _Terms], torsions: _Terms) -> None:
    """Atoms of all terms as three times their numbers, and the numbers of types."""
    for name, of, first in (("BONDS", terms["bond"], 0), ("ANGLES", terms["angle"], 0), ("DIHEDRALS", torsions, 1)):
        for where, rows in zip(("INC", "WITHOUT"), _with_hydrogen(system, of.rows, first), strict=True):
            numbers = []
            for row in rows:
                numbers += [3 * (atom - first if atom >= first else atom + first) for atom in row[:-1]]
                numbers.append(row[-1] + 1)
            made.add(f"{name}_{where}_HYDROGEN", "10I8", numbers)


def _add_rest(made: Sections, system: System, types: _LennardJones) -> None:
    """Sections that programs want to find, and that say nothing here."""
    size = system.molecule.n_atoms
    for name in ("HBOND_ACOEF", "HBOND_BCOEF", "HBCUT"):
        made.add(name, "3E24.16", [])
    names = (f"{symbol[0]}{number}" for symbol, number in zip(system.molecule.symbols, types.of_atoms, strict=True))
    made.add("AMBER_ATOM_TYPE", "20a4", names)
    made.add("TREE_CHAIN_CLASSIFICATION", "20a4", ["BLA"] * size)
    for name in ("JOIN_ARRAY", "IROTAT"):
        made.add(name, "10I8", [0] * size)


def _add_chamber(made: Sections, terms: Mapping[str, _Terms]) -> None:
    """Urey-Bradley terms and harmonic dihedrals; atoms are counted from 1."""
    outer, stiff = terms["urey_bradley"], _Terms()
    for kind in _STIFF:
        for *atoms, number in terms[kind].rows:
            stiff.add(atoms, terms[kind].values[number])
    made.add("CHARMM_UREY_BRADLEY_COUNT", "10I8", [len(outer.rows), len(outer.values)])
    made.add("CHARMM_UREY_BRADLEY", "10I8", [number + 1 for row in outer.rows for number in row])
    for name, values in zip(("FORCE_CONSTANT", "EQUIL_VALUE"), outer.columns() or [[], []], strict=True):
        made.add(f"CHARMM_UREY_BRADLEY_{name}", "3E24.16", values)
    made.add("CHARMM_NUM_IMPROPERS", "10I8", [len(stiff.rows)])
    made.add("CHARMM_IMPROPERS", "10I8", [number + 1 for row in stiff.rows for number in row])
    made.add("CHARMM_NUM_IMPR_TYPES", "10I8", [len(stiff.values)])
    for name, values in zip(("FORCE_CONSTANT", "PHASE"), stiff.columns() or [[], []], strict=True):
        made.add(f"CHARMM_IMPROPER_{name}", "3E24.16", values)

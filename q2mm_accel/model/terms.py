"""The terms of one molecule, each with the class that makes its type: what `perceive` shares out over types."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

import numpy as np

from q2mm_accel.errors import ParameterError
from q2mm_accel.model import topology
from q2mm_accel.model.kinds import term_kinds
from q2mm_accel.model.molecule import Molecule

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

LINEAR = "linear"
"""The group of angles above 175 degrees: their equilibrium is 180, and no fit moves it."""


@dataclass
class Terms:
    """The terms of one kind in one molecule: atoms, the class of each (its label first), measured values, factors."""

    atoms: np.ndarray
    classes: list[tuple]
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    factors: np.ndarray | None = None


@dataclass
class Frame:
    """What all terms of a molecule are made of.

    Attributes:
        molecule: the molecule.
        bonds: shape (n_bonds, 2).
        names: the type of each atom.
        angles: shape (n_angles, 3).
        groups: of each angle: "" where all angles of these atoms' types are alike, or else LINEAR or such as "~90".
        bond_groups: of each bond: "" where all bonds of these atoms' types are alike, or else such as "~1.40".
    """

    molecule: Molecule
    bonds: np.ndarray
    names: Sequence[str]
    angles: np.ndarray
    groups: list[str]
    bond_groups: list[str]

    @property
    def bond_lengths(self) -> np.ndarray:
        """Shape (n_bonds,) [Å]."""
        return topology.distances(self.molecule.coordinates, self.bonds)

    @property
    def angle_values(self) -> np.ndarray:
        """Shape (n_angles,) [degrees]."""
        return topology.angle_values(self.molecule.coordinates, self.angles)

    @property
    def bent(self) -> np.ndarray:
        """The angles that are not straight: only these have a direction in which to couple with something."""
        return self.angles[self.angle_values <= topology.LINEAR_ANGLE]


def group_angles(frames: Sequence[Frame], gap: float) -> None:
    """Tell apart angles of like atoms that are not alike: a type for each group of values, and one for straight angles.

    Args:
        frames: of all molecules; their `groups` are set.
        gap: sorted values of one class of atoms that are further apart than this are of different groups [degrees].
    """
    keys = [classes("angle", frame.names, frame.angles) for frame in frames]
    found = _groups(keys, [frame.angle_values for frame in frames], gap, 0, topology.LINEAR_ANGLE)
    for frame, groups in zip(frames, found, strict=True):
        frame.groups = groups


def group_bonds(frames: Sequence[Frame], gap: float) -> None:
    """Tell apart bonds of like atoms that are not alike, such as the two kinds of a styrene's: a type for each group.

    Args:
        frames: of all molecules; their `bond_groups` are set.
        gap: sorted lengths of one class of atoms that are further apart than this are of different groups [Å].
    """
    keys = [classes("bond", frame.names, frame.bonds) for frame in frames]
    found = _groups(keys, [frame.bond_lengths for frame in frames], gap, 2, np.inf)
    for frame, groups in zip(frames, found, strict=True):
        frame.bond_groups = groups


def _groups(keys: Sequence[list[tuple]], values: Sequence[np.ndarray], gap: float, digits: int, limit: float):
    """Of each molecule's terms the group of its value among all of its class."""
    together: dict[tuple, list[float]] = {}
    for key, value in zip(chain(*keys), chain(*values), strict=True):
        together.setdefault(key, []).append(float(value))
    names = {key: _group_names(np.array(found), gap, digits, limit) for key, found in together.items()}
    return [
        [names[key][float(value)] for key, value in zip(own, found, strict=True)]
        for own, found in zip(keys, values, strict=True)
    ]


def _group_names(values: np.ndarray, gap: float, digits: int, limit: float) -> dict[float, str]:
    straight = values > limit
    names = dict.fromkeys(values[straight].tolist(), LINEAR)
    bent = np.sort(values[~straight])
    parts = np.split(bent, np.flatnonzero(np.diff(bent) > gap) + 1) if len(bent) else []
    if len(parts) == 1 and not names:
        return dict.fromkeys(bent.tolist(), "")
    means = [float(np.mean(part)) for part in parts]
    # groups of nearly the same mean need more digits to be told apart
    labels = next(
        found for places in range(digits, 17) if len(set(found := [f"~{mean:.{places}f}" for mean in means])) == len(means)
    )
    for part, label in zip(parts, labels, strict=True):
        names |= dict.fromkeys(part.tolist(), label)
    return names


def bond_terms(frame: Frame) -> Terms:
    """One for each bond."""
    keys = classes("bond", frame.names, frame.bonds)
    keys = [(f"{label} {group}" if group else label,) for (label,), group in zip(keys, frame.bond_groups, strict=True)]
    return Terms(frame.bonds, keys, frame.bond_lengths)


def angle_terms(frame: Frame) -> Terms:
    """One for each angle; the class also says whether it is pinned at 180 degrees."""
    keys = [(*key, group == LINEAR) for key, group in zip(grouped("angle", frame), frame.groups, strict=True)]
    return Terms(frame.angles, keys, frame.angle_values)


def torsion_terms(frame: Frame, rows: np.ndarray, periodicities: Sequence[int]) -> Terms:
    """Cosines for torsions, shape (n, 4); their classes also carry periodicity and phase [degrees]."""
    keys = [(f"{label} n={n}", int(n), 0.0) for (label,) in classes("torsion", frame.names, rows) for n in periodicities]
    return Terms(np.repeat(rows, len(periodicities), axis=0), keys)


def stiff_terms(frame: Frame, rows: np.ndarray) -> Terms:
    """Harmonic dihedrals for torsions, shape (n, 4); their classes carry the equilibrium, 0 or 180 degrees."""
    trans = np.abs(topology.dihedral_values(frame.molecule.coordinates, rows)) > 90.0
    keys = [
        (f"{label} ~{180 if far else 0}", 180.0 if far else 0.0)
        for (label,), far in zip(classes("harmonic_dihedral", frame.names, rows), trans, strict=True)
    ]
    return Terms(rows, keys)


def improper_terms(frame: Frame) -> Terms:
    """One for each planar atom with three neighbours; the classes also carry periodicity and phase [degrees]."""
    rows = topology.impropers(frame.molecule, frame.bonds)
    words = (_words(frame.names, row) for row in rows.tolist())
    return Terms(rows, [(f"improper {'-'.join(word)} n=2", 2, 180.0) for word in words])


def outer_terms(frame: Frame, everywhere: bool) -> Terms:
    """Urey-Bradley terms over bent angles. Two angles of a four-membered ring span the same pair: it counts once per class.

    Args:
        frame: of the molecule.
        everywhere: whether over all of them, or only around atoms whose angles depend on each other.
    """
    bonded = set(map(tuple, frame.bonds.tolist()))
    around = np.ones(frame.molecule.n_atoms, dtype=bool)
    if not everywhere:
        around = topology.crowded_atoms(frame.molecule, frame.bonds)
    keys = grouped("urey_bradley", frame)
    found = dict.fromkeys(
        ((i, k), key)
        for (i, j, k), key, group in zip(frame.angles.tolist(), keys, frame.groups, strict=True)
        if (i, k) not in bonded and around[j] and group != LINEAR
    )
    pairs = np.array([pair for pair, _ in found], dtype=np.int64).reshape(-1, 2)
    return Terms(pairs, [key for _, key in found], topology.distances(frame.molecule.coordinates, pairs))


def coupling_terms(kind: str, frame: Frame) -> Terms:
    """Couplings of every two bonds of an atom, of an angle with each of its bonds, or of angles that share a bond.

    Straight angles couple with nothing, for they have no direction in which to; their two bonds do.
    """
    if kind == "stretch_stretch":
        rows = frame.angles
    elif kind == "bond_bend":
        rows = np.stack([frame.bent, frame.bent[:, ::-1]], axis=1).reshape(-1, 3)
    else:
        rows = _bend_pairs(frame.bent)
    return Terms(rows, _coupled_classes(kind, frame, rows))


def _bend_pairs(angles: np.ndarray) -> np.ndarray:
    """Atoms (i, j, k, l) of the angles i-j-k and k-j-l, shape (n, 4)."""
    legs: dict[tuple[int, int], list[int]] = {}
    for first, centre, second in angles.tolist():
        legs.setdefault((centre, first), []).append(second)
        legs.setdefault((centre, second), []).append(first)
    rows = [(i, centre, shared, k) for (centre, shared), outer in legs.items() for i, k in combinations(sorted(outer), 2)]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _coupled_classes(kind: str, frame: Frame, rows: np.ndarray) -> list[tuple[str]]:
    """Labels such as ("bend_bend F-C-H-H",), in the equivalent order that comes first, with the groups of the angles."""
    group = {
        triple: name
        for (i, j, k), name in zip(frame.angles.tolist(), frame.groups, strict=True)
        for triple in ((i, j, k), (k, j, i))
    }
    equivalent = term_kinds()[kind].equivalent or tuple(reversed(range(rows.shape[1])))
    labels = []
    for row in rows.tolist():
        orders = [row, [row[place] for place in equivalent]]
        parts = [(_words(frame.names, order), _groups_of(order, group)) for order in orders]
        words, groups = min(parts)
        labels.append((" ".join([kind, "-".join(words), *filter(None, [",".join(groups) if any(groups) else ""])]),))
    return labels


def _groups_of(atoms: list[int], group: Mapping[tuple[int, int, int], str]) -> tuple[str, ...]:
    i, j, k, *rest = atoms
    return (group[i, j, k], *(group[k, j, other] for other in rest))


def vdw_terms(frame: Frame, one_four: float) -> Terms:
    """Pairs; the classes are those of the atoms and carry radius [Å] and well depth [kcal/mol].

    Raises:
        ParameterError: an element without van der Waals parameters.
    """
    molecule = frame.molecule
    for atom, symbol in enumerate(molecule.symbols):
        if symbol not in UFF:
            raise ParameterError(
                f"{molecule.name}: atom {atom} ({symbol}) has no van der Waals parameters here; known are "
                f"{', '.join(UFF)}. Pass vdw=False, or build the ForceField and System with values of your own."
            )
    keys = [(f"vdw {name}", *UFF[symbol]) for name, symbol in zip(frame.names, molecule.symbols, strict=True)]
    pairs = topology.vdw_pairs(molecule.n_atoms, frame.bonds)
    return Terms(pairs, keys, factors=_factors(pairs, molecule.n_atoms, frame.bonds, one_four))


def _factors(pairs: np.ndarray, n_atoms: int, bonds: np.ndarray, one_four: float) -> np.ndarray | None:
    """That of 1-4 pairs and 1 for all others, shape (n_pairs,); None where all are 1."""
    if one_four == 1.0:
        return None
    bonded = np.zeros((n_atoms, n_atoms), dtype=np.int64)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = 1
    three_apart = bonded @ bonded @ bonded > 0  # or one bond apart, but such pairs are not among these
    return np.where(three_apart[pairs[:, 0], pairs[:, 1]], one_four, 1.0)


def grouped(kind: str, frame: Frame) -> list[tuple[str]]:
    """The classes of all angles for a kind of term, with their groups, as in ("angle Cl-Pt-Cl ~90",)."""
    keys = classes(kind, frame.names, frame.angles)
    return [(f"{label} {group}" if group else label,) for (label,), group in zip(keys, frame.groups, strict=True)]


def classes(kind: str, names: Sequence[str], rows: np.ndarray) -> list[tuple[str]]:
    """Labels such as ("angle F-C-H",), the same in either direction."""
    words = [_words(names, row) for row in rows.tolist()]
    return [(f"{kind} {'-'.join(min(word, word[::-1]))}",) for word in words]


def _words(names: Sequence[str], atoms: Iterable[int]) -> tuple[str, ...]:
    return tuple(names[int(atom)] for atom in atoms)

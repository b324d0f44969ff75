"""A molecule with its force-field terms: which atoms, and which row of the force field."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import TopologyError
from q2mm_accel.model.molecule import Molecule

TERM_WIDTHS = {"bond": 2, "angle": 3, "torsion": 4, "urey_bradley": 2}
"""Number of atoms of a term, by kind."""


@dataclass(frozen=True, eq=False)
class System:
    """The terms of one molecule. Every index starts at 0.

    Attributes:
        molecule: the molecule.
        bond_atoms: shape (n_bonds, 2), atom indices.
        bond_types: shape (n_bonds,), the force field's bond type of each bond.
        angle_atoms: shape (n_angles, 3), the middle atom second.
        angle_types: shape (n_angles,).
        torsion_atoms: shape (n_torsions, 4); an improper torsion is a term like any other, in the order of its four atoms.
            The same four atoms may occur several times with different types (periodicities).
        torsion_types: shape (n_torsions,).
        vdw_pairs: shape (n_pairs, 2), the atom pairs that interact (q2mm: all but 1-2 and 1-3 neighbours).
        vdw_types: shape (n_atoms,), the van der Waals type of each atom; may be empty when there are no pairs.
        urey_bradley_atoms: shape (n_urey_bradleys, 2), the outer atoms of an angle.
        urey_bradley_types: shape (n_urey_bradleys,).

    Raises:
        TopologyError: wrong shapes, atoms or types that do not exist, a term given twice or with an atom twice.
    """

    molecule: Molecule
    bond_atoms: ArrayLike = ()
    bond_types: ArrayLike = ()
    angle_atoms: ArrayLike = ()
    angle_types: ArrayLike = ()
    torsion_atoms: ArrayLike = ()
    torsion_types: ArrayLike = ()
    vdw_pairs: ArrayLike = ()
    vdw_types: ArrayLike = ()
    urey_bradley_atoms: ArrayLike = ()
    urey_bradley_types: ArrayLike = ()

    def __post_init__(self) -> None:
        """Convert to read-only integer arrays and check them."""
        for kind, width in TERM_WIDTHS.items():
            atoms = self._indices(f"{kind}_atoms", (-1, width))
            types = self._indices(f"{kind}_types", (-1,))
            if len(atoms) != len(types):
                raise TopologyError(
                    f"{self.molecule.name}: {len(atoms)} {kind}_atoms but {len(types)} {kind}_types; give one type per term."
                )
            self._check_atoms(kind, atoms)
            self._check_duplicates(kind, atoms, types)
        pairs = self._indices("vdw_pairs", (-1, 2))
        self._check_atoms("vdw pair", pairs)
        self._check_duplicates("vdw pair", pairs, np.zeros(len(pairs), dtype=np.int64))
        vdw_types = self._indices("vdw_types", (-1,))
        if len(vdw_types) not in ((self.molecule.n_atoms,) if len(pairs) else (0, self.molecule.n_atoms)):
            raise TopologyError(
                f"{self.molecule.name}: vdw_types has {len(vdw_types)} entries for {self.molecule.n_atoms} atoms; "
                "every atom needs a van der Waals type."
            )

    def terms(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Atoms, shape (n_terms, k), and types, shape (n_terms,), of a kind: bond, angle, torsion or urey_bradley."""
        return getattr(self, f"{kind}_atoms"), getattr(self, f"{kind}_types")

    def _indices(self, field: str, shape: tuple[int, ...]) -> np.ndarray:
        wanted = f"(n, {shape[1]})" if len(shape) == 2 else "(n,)"
        try:
            raw = np.asarray(getattr(self, field))
        except ValueError as error:
            raise TopologyError(f"{self.molecule.name}: {field} must be integers of shape {wanted}: {error}.") from error
        if raw.size == 0:
            raw = raw.astype(np.int64).reshape(tuple(max(n, 0) for n in shape))
        if raw.dtype.kind not in "iu" or raw.ndim != len(shape) or (len(shape) == 2 and raw.shape[1] != shape[1]):
            raise TopologyError(
                f"{self.molecule.name}: {field} must be integers of shape {wanted}, but has the shape {raw.shape} and "
                f"dtype {raw.dtype}."
            )
        array = np.array(raw, dtype=np.int64, order="C")
        for row in np.argwhere(array < 0)[:1, 0]:
            raise TopologyError(
                f"{self.molecule.name}: {field}[{row}] is {array[row].tolist()}; an index is an integer from 0. "
                "Give the number of an atom or type that exists."
            )
        array.flags.writeable = False
        object.__setattr__(self, field, array)
        return array

    def _check_atoms(self, kind: str, atoms: np.ndarray) -> None:
        if atoms.size and atoms.max() >= self.molecule.n_atoms:
            term = int(np.argmax(atoms.max(axis=1) >= self.molecule.n_atoms))
            raise TopologyError(
                f"{self.molecule.name}: {kind} {term} names the atoms {atoms[term].tolist()}, but the molecule has "
                f"{self.molecule.n_atoms} atoms (0 to {self.molecule.n_atoms - 1})."
            )
        for term, row in enumerate(atoms):
            if len(set(row.tolist())) < len(row):
                raise TopologyError(
                    f"{self.molecule.name}: {kind} {term} names an atom twice: {row.tolist()}. Give different atoms."
                )

    def _check_duplicates(self, kind: str, atoms: np.ndarray, types: np.ndarray) -> None:
        seen: dict[tuple, int] = {}
        for term, (row, type_index) in enumerate(zip(atoms.tolist(), types.tolist(), strict=True)):
            key = (*min(row, row[::-1]), type_index)
            if key in seen:
                raise TopologyError(
                    f"{self.molecule.name}: {kind} {term} repeats {kind} {seen[key]}: atoms {row}, type {type_index}. "
                    "Give each term once."
                )
            seen[key] = term

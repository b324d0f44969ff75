"""A molecule with its force-field terms: which atoms, and which row of the force field."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import FormError, TopologyError
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.kinds import KINDS, Kind, PairKind, Read, kind_named, pair_kinds, term_kinds
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.origin import Origin

_ASYMMETRY = 1e-3
"""Of a background's Hessian, relative to its largest element: finite differences of forces stay below."""


@dataclass(frozen=True, eq=False)
class Background:
    """What another engine computed for a molecule at its geometry, and no parameter changes.

    Attributes:
        energy: [kcal/mol].
        gradient: shape (n_atoms, 3) [kcal/mol/Å].
        hessian: shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²].

    Raises:
        TopologyError: malformed, not finite, or a Hessian that is not symmetric.
    """

    energy: float
    gradient: np.ndarray
    hessian: np.ndarray

    def __post_init__(self) -> None:
        """Convert to read-only float64 arrays and check them."""
        object.__setattr__(self, "energy", float(real_array(self.energy, "a background's energy", TopologyError, shape=())))
        gradient = real_array(self.gradient, "a background's gradient", TopologyError, ndim=2)
        size = 3 * len(gradient)
        if gradient.shape[1:] != (3,):
            raise TopologyError(f"a background's gradient must have the shape (n_atoms, 3), but has {gradient.shape}.")
        hessian = real_array(self.hessian, "a background's hessian", TopologyError, shape=(size, size))
        asymmetry, largest = np.abs(hessian - hessian.T).max(initial=0.0), np.abs(hessian).max(initial=0.0)
        if asymmetry > _ASYMMETRY * largest:
            raise TopologyError(
                f"a background's hessian is not symmetric: H - Hᵀ has elements up to {asymmetry:.3g} beside {largest:.3g} "
                "kcal/mol/Å². Check its order (atom by atom, x, y, z), or pass (H + Hᵀ) / 2."
            )
        for name, array in (("gradient", gradient), ("hessian", 0.5 * (hessian + hessian.T))):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __add__(self, other: "Background") -> "Background":
        """Both together."""
        if not isinstance(other, Background):
            return NotImplemented
        if len(self.gradient) != len(other.gradient):
            raise TopologyError(
                f"backgrounds of {len(self.gradient)} and {len(other.gradient)} atoms cannot be added; take one molecule's."
            )
        return Background(self.energy + other.energy, self.gradient + other.gradient, self.hessian + other.hessian)


class PairList(NamedTuple):
    """The pairs of a kind in a system."""

    atoms: np.ndarray
    """(n_pairs, 2)."""
    types: np.ndarray
    """(n_atoms,) type of each atom; empty where there are no pairs."""
    factors: np.ndarray
    """(n_pairs,) by which each pair's energy is multiplied."""


@dataclass(frozen=True, eq=False, init=False)
class System:
    """The terms of one molecule. Every index starts at 0.

    Terms of each kind (model/kinds.py) are given as `<kind>_atoms`, shape (n, atoms of a term), and `<kind>_types`, shape
    (n,), the force field's type of each. Read them as attributes; kinds that are not given have no terms:

        bond_atoms (n, 2); angle_atoms (n, 3), the middle atom second; urey_bradley_atoms (n, 2), an angle's outer atoms;
        torsion_atoms (n, 4), in which an improper torsion is a term like any other, in the order of its four atoms, and the
        same atoms may occur several times with different types (periodicities).

    Terms of a kind that reads parameters of others find these by their atoms, or by `<kind>_links`, shape (n, reads): the
    types of the other terms.

    Pairs of each kind are given as `<kind>_pairs`, shape (n, 2), `<kind>_types`, shape (n_atoms,), the type of each atom
    (may be empty when there are no pairs), and `<kind>_factors`, shape (n,), 1 by default: vdw_pairs (in q2mm all but 1-2
    and 1-3 neighbours), vdw_types, vdw_factors, coulomb_pairs, ...

    Attributes:
        molecule: the molecule.
        background: energy, gradient and Hessian of whatever has no term here, or None.
        origin: the OpenMM System that the terms come from, or None.
        arrays: the arrays by field.

    Raises:
        TopologyError: an unknown field, wrong shapes, atoms or types that do not exist, a term given twice or with an atom
            twice.
    """

    molecule: Molecule
    background: Background | None
    origin: Origin | None
    arrays: Mapping[str, np.ndarray]

    def __init__(
        self,
        molecule: Molecule,
        *,
        background: Background | None = None,
        origin: Origin | None = None,
        arrays: Mapping[str, ArrayLike] | None = None,
        **fields: ArrayLike,
    ) -> None:
        """Convert to read-only arrays and check them."""
        if not isinstance(molecule, Molecule):
            raise TopologyError(f"molecule is {molecule!r}; a System is made of a Molecule: create that first.")
        object.__setattr__(self, "molecule", molecule)
        object.__setattr__(self, "background", background)
        object.__setattr__(self, "origin", origin)
        if not isinstance({} if arrays is None else arrays, Mapping):
            raise TopologyError(f"arrays is {arrays!r:.60}; it must map fields to arrays.")
        object.__setattr__(self, "arrays", MappingProxyType(self._converted({**(arrays or {}), **fields})))
        self._check_background()
        given = {name.rpartition("_")[0] for name in self.arrays}
        for name, kind in KINDS.items():
            if name in given and isinstance(kind, Kind):
                self._check_terms(name, kind)
            elif name in given:
                self._check_pairs(name)
        self._check_replaced()
        self._check_origin()

    def __reduce__(self) -> tuple:
        """A copy or a pickle is made anew, so that kinds that are not known here are refused by name."""
        rest = {"background": self.background, "origin": self.origin, "arrays": dict(self.arrays)}
        return partial(type(self), **rest), (self.molecule,)

    def __dir__(self) -> list[str]:
        """With the fields of all kinds."""
        return [*super().__dir__(), *_shapes()]

    def __getattr__(self, name: str) -> np.ndarray:
        """The array of a field."""
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        shape = None if name.startswith("_") else _shapes().get(name)
        if shape is None:
            raise AttributeError(f"a system has no {name!r}")
        if name.endswith("_factors"):
            return np.ones(len(getattr(self, f"{name.removesuffix('_factors')}_pairs")))
        return np.zeros(tuple(max(n, 0) for n in shape), dtype=np.int64)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of terms that it has, by name."""
        return {name: kind for name, kind in term_kinds().items() if len(self.arrays.get(f"{name}_types", ()))}

    @property
    def pair_kinds(self) -> tuple[str, ...]:
        """The kinds of pairs that it has."""
        return tuple(name for name in pair_kinds() if len(self.arrays.get(f"{name}_pairs", ())))

    def terms(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Atoms, shape (n_terms, k), and types, shape (n_terms,), of a kind of term."""
        if isinstance(kind_named(kind), PairKind):
            raise FormError(f"the kind {kind!r} is one of pairs; take `pairs`.")
        return getattr(self, f"{kind}_atoms"), getattr(self, f"{kind}_types")

    def pairs(self, kind: str) -> PairList:
        """The pairs of a kind."""
        if isinstance(kind_named(kind), Kind):
            raise FormError(f"the kind {kind!r} is one of terms; take `terms`.")
        atoms = getattr(self, f"{kind}_pairs")
        return PairList(atoms, getattr(self, f"{kind}_types"), getattr(self, f"{kind}_factors"))

    def linked_types(self, kind: str, read: Read) -> np.ndarray:
        """The type of the other kind's term whose parameter each term of a kind reads, shape (n_terms,).

        Raises:
            TopologyError: there is no such term, or there are several with different types.
        """
        other, own = KINDS[read.kind], KINDS[kind]
        assert isinstance(other, Kind) and isinstance(own, Kind)
        if len(links := getattr(self, f"{kind}_links")):
            return links[:, own.reads.index(read)]
        types: dict[tuple[int, ...], set[int]] = {}
        for atoms, number in zip(*(each.tolist() for each in self.terms(read.kind)), strict=True):
            types.setdefault(other.same_term(atoms), set()).add(number)
        found = []
        for term, atoms in enumerate(self.terms(kind)[0][:, list(read.atoms)].tolist()):
            matches = types.get(other.same_term(atoms), set())
            if len(matches) != 1:
                count = f"{len(matches)} types" if matches else "no term"
                raise TopologyError(
                    f"{self.molecule.name}: {kind} {term} reads the {read.field} of the {read.kind} of the atoms {atoms}, "
                    f"which has {count}. Give that {read.kind} one type, or leave the {kind} out."
                )
            found += matches
        return np.array(found, dtype=np.int64)

    def without(self, left_out: Mapping[str, np.ndarray]) -> Self:
        """The system without some terms, so no longer that of an origin. Terms that read others keep their links to them.

        Args:
            left_out: kind -> which of its terms (pairs), shape (n,), to leave out.
        """
        changes: dict[str, Any] = {}
        for name, kind in self.kinds.items():
            if kind.reads:
                links = np.stack([self.linked_types(name, read) for read in kind.reads], axis=1)
                changes[f"{name}_links"] = links[~left_out[name]] if name in left_out else links
        for kind, mask in left_out.items():
            names = ("pairs", "factors") if kind in pair_kinds() else ("atoms", "types")
            fields = [name for name in (f"{kind}_{each}" for each in names) if name in self.arrays]
            changes.update({field: self.arrays[field][~mask] for field in fields})
        return replace(self, **changes, origin=None)

    def with_background(self, background: Background | None) -> Self:
        """The system with another background, so no longer that of an origin."""
        return replace(self, background=background, origin=None)

    def _converted(self, given: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        shapes, arrays = _shapes(), {}
        for field, values in given.items():
            if field not in shapes:
                near = get_close_matches(field, shapes, n=3, cutoff=0.0)
                raise TopologyError(
                    f"{self.molecule.name}: a system has no {field!r}; did you mean {' or '.join(map(repr, near))}? A field "
                    "of a kind of your own exists once register_kind has made the kind known."
                )
            if field.endswith("_factors"):
                array = real_array(values, f"{self.molecule.name}: {field}", TopologyError, ndim=1)
            else:
                array = self._indices(field, values, shapes[field])
            array.flags.writeable = False
            arrays[field] = array
        return arrays

    def _indices(self, field: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
        wanted = f"(n, {shape[1]})" if len(shape) == 2 else "(n,)"
        try:
            raw = np.asarray(values)
        except ValueError as error:
            raise TopologyError(f"{self.molecule.name}: {field} must be integers of shape {wanted}: {error}.") from error
        if raw.size == 0:
            raw = np.zeros(tuple(max(n, 0) for n in shape), dtype=np.int64)
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
        return array

    def _check_background(self) -> None:
        if self.background is None:
            return
        if not isinstance(self.background, Background):
            raise TopologyError(
                f"{self.molecule.name}: background is a {type(self.background).__name__}; make a Background of it."
            )
        if len(self.background.gradient) != self.molecule.n_atoms:
            raise TopologyError(
                f"{self.molecule.name}: the background's gradient is of {len(self.background.gradient)} atoms, but the "
                f"molecule has {self.molecule.n_atoms}."
            )

    def _check_origin(self) -> None:
        if self.origin is None:
            return
        if not isinstance(self.origin, Origin):
            raise TopologyError(f"{self.molecule.name}: origin is a {type(self.origin).__name__}; make an Origin of it.")
        counts = {name: len(self.terms(name)[0]) for name in self.kinds}
        counts |= {name: len(self.pairs(name).atoms) for name in self.pair_kinds}
        for kind in {**counts, **self.origin.entries}:
            known, count = len(self.origin.entries.get(kind, ())), counts.get(kind, 0)
            if known != count:
                raise TopologyError(
                    f"{self.molecule.name}: the origin knows where {known} terms of the kind {kind!r} come from, but there "
                    f"are {count}. A system with other terms is not that of its origin: give it origin=None."
                )

    def _check_terms(self, name: str, kind: Kind) -> None:
        atoms, types = self.terms(name)
        if len(atoms) != len(types):
            raise TopologyError(
                f"{self.molecule.name}: {len(atoms)} {name}_atoms but {len(types)} {name}_types; give one type per term."
            )
        links = getattr(self, f"{name}_links")
        if len(links) not in (0, len(atoms)):
            raise TopologyError(
                f"{self.molecule.name}: {name}_links has {len(links)} rows for {len(atoms)} {name}_atoms; give one for each."
            )
        self._check_atoms(name, atoms)
        keys = [(kind.same_term(row), number) for row, number in zip(atoms.tolist(), types.tolist(), strict=True)]
        self._check_duplicates(name, keys, atoms, types)

    def _check_pairs(self, name: str) -> None:
        atoms, types, factors = self.pairs(name)
        self._check_atoms(f"{name} pair", atoms)
        none = np.zeros(len(atoms), dtype=np.int64)
        self._check_duplicates(f"{name} pair", [(tuple(sorted(row)), 0) for row in atoms.tolist()], atoms, none)
        if len(types) not in ((self.molecule.n_atoms,) if len(atoms) else (0, self.molecule.n_atoms)):
            what = "van der Waals type" if name == "vdw" else f"{name} type"
            raise TopologyError(
                f"{self.molecule.name}: {name}_types has {len(types)} entries for {self.molecule.n_atoms} atoms; "
                f"every atom needs a {what}."
            )
        if len(factors) != len(atoms):
            raise TopologyError(
                f"{self.molecule.name}: {name}_factors has {len(factors)} entries for {len(atoms)} {name}_pairs; give one "
                "for each."
            )

    def _check_replaced(self) -> None:
        """Check that no pair has both values of its own and those combined from its atoms."""
        for name, kind in self.kinds.items():
            if kind.instead_of is None:
                continue
            others = {tuple(sorted(pair)) for pair in self.pairs(kind.instead_of).atoms.tolist()}
            for term, atoms in enumerate(self.terms(name)[0].tolist()):
                if tuple(sorted(atoms)) in others:
                    raise TopologyError(
                        f"{self.molecule.name}: {name} {term} of the atoms {atoms} stands in {kind.instead_of}_pairs too "
                        f"and would count twice. Leave it out of {kind.instead_of}_pairs."
                    )

    def _check_atoms(self, kind: str, atoms: np.ndarray) -> None:
        if atoms.size and atoms.max() >= self.molecule.n_atoms:
            term = int(np.argmax(atoms.max(axis=1) >= self.molecule.n_atoms))
            raise TopologyError(
                f"{self.molecule.name}: {kind} {term} names the atoms {atoms[term].tolist()}, but the molecule has "
                f"{self.molecule.n_atoms} atoms (0 to {self.molecule.n_atoms - 1})."
            )
        for term, row in enumerate(atoms.tolist()):
            if len(set(row)) < len(row):
                raise TopologyError(f"{self.molecule.name}: {kind} {term} names an atom twice: {row}. Give different atoms.")

    def _check_duplicates(self, kind: str, keys: list[tuple], atoms: np.ndarray, types: np.ndarray) -> None:
        seen: dict[tuple, int] = {}
        for term, key in enumerate(keys):
            if key in seen:
                raise TopologyError(
                    f"{self.molecule.name}: {kind} {term} repeats {kind} {seen[key]}: atoms {atoms[term].tolist()}, type "
                    f"{types[term]}. Give each term once."
                )
            seen[key] = term


def _shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every field; -1 stands for any number."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, kind in KINDS.items():
        if isinstance(kind, PairKind):
            shapes.update({f"{name}_pairs": (-1, 2), f"{name}_types": (-1,), f"{name}_factors": (-1,)})
        else:
            shapes.update({f"{name}_atoms": (-1, kind.n_atoms), f"{name}_types": (-1,)})
            shapes.update({f"{name}_links": (-1, len(kind.reads))})
    return shapes

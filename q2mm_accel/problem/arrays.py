"""The arrays of a fitting problem: frozen dataclasses that JAX takes as arguments of compiled functions.

Molecules of similar size share a bucket: M molecules padded to N atoms, D = 3 N Cartesian components each, ordered axis
by axis (component of axis a and atom i at a N + i) so that the block of an axis pair is an N x N matrix. The buckets that
are evaluated together make a batch: their Hessians follow each other in one flat buffer; bonded terms of all molecules
stand in one list per kind and add into that buffer. Batches of the same shapes are stacked, and take turns or go to
several devices. Every padded entry is masked where it is used, whatever it holds; but for those of `Fixed` and of
of eigenvectors and modes, which are 0.
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from jax.sharding import Mesh

Array = jax.Array | np.ndarray
"""NumPy's when built; JAX's on devices and inside compiled functions."""


def _static():
    return field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Terms:
    """All terms of one kind, of k atoms and C internal coordinates each, padded to T."""

    present: Array
    """(T,) whether the term is real."""
    parameters: Array
    """(T, P) positions of its parameters in the force field's vector, its own and then those it reads of other kinds."""
    molecule: Array
    """(T,) number of its molecule among those of all buckets."""
    coordinates: tuple[Array, ...]
    """C times (T,): distance [Å], supplement of the angle [rad] or dihedral [rad]."""
    first: tuple[Array, ...]
    """C times (T, 3k): derivatives of the coordinate."""
    second: tuple[Array, ...]
    """C times (T, 3k, 3k): second derivatives; for angles those of u²/2."""
    components: Array
    """(T, 3k) its Cartesian components, counted over the components of all molecules."""
    rows: Array
    """(T, 3k) where the rows of these components start in the flat buffer of Hessians."""
    columns: Array
    """(T, 3k) these components counted within their molecule."""
    constants: tuple[Array, ...]
    """Fixed parameters of a term, (T,) each: periodicity and phase [rad] of torsions."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Geometry:
    """Distances of all atoms of a bucket's molecules, as symmetric N x N matrices."""

    distance: Array
    """(M, N, N) [Å]."""
    direction: Array
    """(M, 3, N, N) unit vectors."""
    atom_present: Array
    """(M, N) whether the atom is real."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pairs:
    """Pairs of one kind of a bucket's molecules, as symmetric N x N matrices."""

    present: Array
    """(M, N, N) whether the two atoms interact."""
    types: Array
    """(M, N) type of each atom."""
    factors: Array | None
    """(M, N, N) by which energies are multiplied; None where all are 1."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fixed:
    """What no free parameter changes: terms whose parameters are all frozen, and backgrounds of other engines."""

    energy: Array
    """(M,) [kcal/mol]."""
    gradient: Array
    """(M, D) [kcal/mol/Å]."""
    hessian: Array
    """(M, D, D) [kcal/mol/Å²], 0 where padded."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Uses:
    """Elements of the vector that the parameters of one kind's terms follow, E of them; -1 where padded."""

    term: Array
    """(E,) the term."""
    own: Array
    """(E,) which of its parameters."""
    element: Array
    """(E,) the element of the vector."""
    column: Array
    """(E,) that element's place among those that change the molecule."""
    factor: Array
    """(E,) change of the parameter with the element."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairColumns:
    """Elements of the vector that change one kind of pairs of a bucket's molecules, at most K each; -1 for none."""

    columns: Array
    """(M, K) their places among those that change the molecule."""
    factors: Array
    """(M, K, width, N) change of the atoms' own parameters with each of them."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns:
    """Elements of the vector that change the molecules of a bucket, at most L each; -1 for none."""

    elements: Array
    """(M, L) ascending."""
    groups: dict[str, Array]
    """By kind (G, `columns.TOGETHER`): the `Uses` of one element in one molecule, in one row or more."""
    pairs: dict[str, PairColumns]
    """By kind."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bucket:
    """M molecules of similar size, padded to N atoms; D = 3 N."""

    geometry: Geometry | None
    """None when no two atoms interact."""
    pairs: dict[str, Pairs]
    """By kind, those that occur."""
    inverse_root_masses: Array
    """(M, D) [u^-1/2]."""
    component_present: Array
    """(M, D) whether the component belongs to a real atom."""
    eigenvectors: Array | None
    """(M, D, D) columns: eigenvectors of the QM Hessians; None when no reference needs them."""
    modes: Array | None
    """(M, D, D) columns: M^-½ times the QM Hessians' normal modes, 0 beyond them; None when no reference needs them."""
    fixed: Fixed | None
    """None when every term has a free parameter."""
    columns: Columns | None
    """None when no reference needs elements of matrices."""
    coordinates: Array | None
    """(M, D) of the QM geometries [Å]; None when no molecule leaves them."""
    outputs: tuple[str, ...] = _static()
    """What the references need, in the order of `OUTPUTS`."""

    @property
    def distances(self) -> Geometry:
        """The geometry of a bucket with pairs."""
        assert self.geometry is not None, "a bucket without pairs has no distances"
        return self.geometry

    def basis(self, output: str) -> Array | None:
        """The constant W (M, D, K) of an output that is Wᵀ H W or Wᵀ g; None of all others."""
        return {"eigenmatrix": self.eigenvectors, "mode_matrix": self.modes, "mode_gradient": self.modes}.get(output)

    def matrix_size(self, output: str) -> int:
        """Number of rows of an output that is a symmetric matrix: K, or D of the Hessian."""
        basis = self.basis(output)
        return self.component_present.shape[1] if basis is None else basis.shape[2]

    @property
    def own_columns(self) -> Columns:
        """The columns of a bucket whose matrices are read."""
        assert self.columns is not None, "a bucket whose matrices are not read has no columns"
        return self.columns

    @property
    def start(self) -> Array:
        """The QM geometries of a bucket whose molecules move."""
        assert self.coordinates is not None, "a bucket whose molecules stand still has no coordinates"
        return self.coordinates


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Molecules that are evaluated together."""

    terms: dict[str, Terms]
    """By kind, those that occur."""
    uses: dict[str, Uses]
    """By kind; of none when no reference needs elements of matrices."""
    buckets: tuple[Bucket, ...]
    read: Array
    """(P,) positions in the concatenated outputs of all buckets that references read, and padding."""
    form: str = _static()
    """Name of the functional form."""
    n_parameters: int = _static()
    """Length of the force field's vector."""
    pair_types: tuple[tuple[str, int, int], ...] = _static()
    """Of each kind of pairs its name, where its parameters start in the vector, and its number of types."""
    distinct: bool = _static()
    """Whether no element of a matrix is read twice, above or below the diagonal."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the Hessians' assembly; what comes after it has that of the masses."""
        terms = [terms.coordinates[0].dtype for terms in self.terms.values()]
        pairs = [bucket.geometry.distance.dtype for bucket in self.buckets if bucket.geometry is not None]
        return [*terms, *pairs, self.buckets[0].inverse_root_masses.dtype][0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Internals:
    """Internal coordinates of one measure that references read of all molecules of a batch, K of them."""

    present: Array
    """(K,) whether it is real."""
    molecule: Array
    """(K,) number of its molecule among those of all buckets."""
    components: Array
    """(K, 3w) components of its atoms, counted over the components of all molecules."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Relaxing:
    """Molecules that are relaxed together, for what references read at the force field's own stationary points."""

    batch: Batch
    """Their terms, all of which move; it has coordinates, no outputs, and reads nothing."""
    upward: tuple[Array, ...]
    """Of each bucket (M,) along how many modes the energy is to rise: 0 for minima."""
    internals: dict[str, Internals]
    """By measure, those that occur."""
    read: Array
    """(P,) positions in the outputs that references read, and padding: eigenvalues of the buckets that need them, then
    internal coordinates by measure."""
    penalty: Array
    """() by how much internal coordinates of molecules that do not converge are off, per force at the QM geometry."""
    penalized: bool = _static()
    """Whether there is such a penalty; else these are NaN."""
    spectra: tuple[bool, ...] = _static()
    """Of each bucket whether its eigenvalues are needed."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class References:
    """What is compared, R references padded from the real ones."""

    present: Array
    """(R,) whether the reference is real."""
    value: Array
    """(R,) reference values."""
    weight: Array
    """(R,) weights."""
    source: Array
    """(R,) position in what all batches read, one after another."""
    is_frequency: Array
    """(R,) whether the output is an eigenvalue that is compared as a frequency."""
    factor: Array
    """(R,) by which other outputs are multiplied."""
    shift: Array
    """(R,) what is added to them then."""
    is_periodic: Array
    """(R,) whether 360 degrees more or less are the same."""
    group: Array
    """(R,) group of a relative energy; `n_groups` for all others."""
    n_groups: int = _static()
    """Number of groups of relative energies."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Expansion:
    """All parameters from the vector an optimizer sees: offset + Σ_k coefficients[:, k] vector[columns[:, k]]."""

    offset: Array
    """(n_parameters,) in the force field's units: frozen values and constants of ties."""
    columns: Array
    """(n_parameters, K) elements of the vector."""
    coefficients: Array
    """(n_parameters, K) in the force field's units; 0 where padded."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Priors:
    """Further residuals weight (center - parameter), P rows padded from the real ones; there may be none."""

    present: Array
    """(P,) whether the row is real."""
    parameter: Array
    """(P,) number of the parameter."""
    center: Array
    """(P,) in the force field's units."""
    weight: Array
    """(P,) in the inverse of these units."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """Everything the loss depends on, but the parameters."""

    stacks: tuple[Batch, ...]
    """Stacks of batches of the same shapes: all arrays have a leading axis. None where everything is relaxed."""
    relaxing: tuple[Relaxing, ...]
    """The same of what is relaxed; what they read follows on what `stacks` do."""
    references: References
    expansion: Expansion
    priors: Priors
    f_scale: Array
    """() deviation, times its weight, from which on a robust loss counts a reference less."""
    loss: str = _static()
    """Name of the loss of references, "linear" for the sum of squares."""
    mesh: Mesh | None = _static()
    """Devices that share the batches out, along the axis "molecules"; None for one."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the Hessians' assembly."""
        return (self.stacks[0] if self.stacks else self.relaxing[0].batch).dtype

    @property
    def hessian_elements(self) -> int:
        """Number of elements of all padded Hessians, the measure of an evaluation's size."""
        batches = [*self.stacks, *(stack.batch for stack in self.relaxing)]
        shapes = (bucket.component_present.shape for stack in batches for bucket in stack.buckets)
        return sum(count * molecules * size**2 for count, molecules, size in shapes)


OUTPUTS = ("energy", "gradient", "mode_gradient", "eigenvalues", "hessian", "eigenmatrix", "mode_matrix")
"""What a bucket can compute, in the order in which it is gathered."""
MATRICES = ("hessian", "eigenmatrix", "mode_matrix")
"""Those that are symmetric matrices (M, D, D)."""


def output_size(output: str, n_components: int) -> int:
    """Number of elements of an output of a molecule with D = 3 N components."""
    if output in MATRICES:
        return n_components**2
    return 1 if output == "energy" else n_components


MEASURES = ("distance", "angle", "dihedral")
"""Internal coordinates that references read of relaxed molecules, in the order in which they are gathered."""

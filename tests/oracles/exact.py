"""Energies, derivatives and losses to more than 20 digits, from the formulas alone.

Nothing here is shared with the package but its constants and its descriptions of molecules. Every derivative is a
finite difference at 150 digits. Those in space are taken term by term: a term depends on at most 12 coordinates, and only
on differences of them, so a molecule takes a fraction of a second. Coordinates and parameters are read as the exact binary
numbers they are.

Units: kcal/mol, Å, degrees in the parameter vector, radian inside, hartree/bohr² and cm⁻¹ for references.
"""

from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from oracles.formulas import dot, mp, mpf, term_energy
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

STEP = mpf(10) ** -50
"""Displacement [Å] of forward differences: they are wrong by about 1e-50, and rounding by 150 - 2 x 50 digits."""
PARAMETER_STEP = mpf(10) ** -25
"""Displacement of a parameter in forward differences: they are wrong by about 1e-25, and so is what they make of the 50
digits that second derivatives in space have."""

WIDTHS = {
    "bond": 2,
    "angle": 2,
    "torsion": 1,
    "vdw": 2,
    "urey_bradley": 2,
    "harmonic_dihedral": 2,
    "improper": 1,
    "harmonic_improper": 2,
    "stretch_stretch": 1,
    "stretch_bend": 1,
    "bond_bend": 1,
    "bend_bend": 1,
    "coulomb": 1,
    "special_vdw": 2,
}
"""Adjustable parameters per type, in the order of the parameter vector."""

_BONDS, _ANGLE = [("bond", (0, 1)), ("bond", (1, 2))], ("angle", (0, 1, 2))
READS = {
    "stretch_stretch": _BONDS,
    "stretch_bend": [*_BONDS, _ANGLE],
    "bond_bend": [_BONDS[0], _ANGLE],
    "bend_bend": [_ANGLE, ("angle", (2, 1, 3))],
}
"""Terms whose equilibrium, their second parameter, a coupling reads: kind, and which of its own atoms they are of."""


OTHERWISE = {
    "bond": ("mm3",),
    "angle": ("mm3",),
    "torsion": ("damped",),
    "vdw": ("mm3", "amber"),
    "stretch_bend": ("mm3",),
    "bond_bend": ("mm3",),
    "special_vdw": ("mm3",),
}
"""Kind -> forms in which its energy is another than in the harmonic one."""


class Term(NamedTuple):
    """One term: kind, atoms, places of its parameters in the vector, (periodicity, phase) of a torsion, factor of a pair."""

    kind: str
    atoms: tuple[int, ...]
    places: tuple[int, ...]
    constants: tuple[float, ...] = ()
    factor: float = 1.0


@lru_cache(maxsize=16)
def terms(system, forcefield):
    """All terms of a system, whose objects cannot change."""
    start, result, equilibria = 0, [], {}
    for kind, width in WIDTHS.items():
        if kind in ("vdw", "coulomb"):
            pairs = system.pairs(kind)
            rows = [(pair, [pairs.types[atom] for atom in pair]) for pair in pairs.atoms]
            factors = [float(factor) for factor in pairs.factors]
        else:
            rows = [(atoms, [row]) for atoms, row in zip(*system.terms(kind), strict=True)]
            factors = [1.0] * len(rows)
        for (atoms, types), factor in zip(rows, factors, strict=True):
            atoms = tuple(int(atom) for atom in atoms)
            places = tuple(start + width * int(row) + column for row in types for column in range(width))
            if kind in ("bond", "angle"):
                equilibria[kind, atoms] = equilibria[kind, atoms[::-1]] = places[1]
            places += tuple(equilibria[other, tuple(atoms[i] for i in which)] for other, which in READS.get(kind, ()))
            constants = ()
            if kind in ("torsion", "improper"):
                names = (f"{kind}_periodicities", f"{kind}_phases")
                constants = tuple(float(getattr(forcefield, name)[types[0]]) for name in names)
            result.append(Term(kind, atoms, places, constants, factor))
        start += width * forcefield.n_types(kind)
    return result


@lru_cache(maxsize=50_000)
def term_derivatives(kind, form, points, values, constants=()):
    """Energy, gradient and lower triangle of the Hessian of one term, by forward differences of the energy.

    The first atom stays: moving all atoms together changes no energy, so its derivatives are minus the sum of the others.
    """
    n = 3 * len(points)
    flat = [mpf(x) for point in points for x in point]

    def displaced(*coordinates):
        moved = list(flat)
        for coordinate in coordinates:
            moved[coordinate] += STEP
        return term_energy(kind, form, [moved[i : i + 3] for i in range(0, n, 3)], values, constants)

    energy_here = displaced()
    once = {i: displaced(i) for i in range(3, n)}
    gradient_here = {i: (value - energy_here) / STEP for i, value in once.items()}
    hessian_here = {
        (i, j): (displaced(i, j) - once[i] - once[j] + energy_here) / STEP**2
        for j, i in combinations_with_replacement(range(3, n), 2)
    }
    for axis in range(3):
        gradient_here[axis] = -sum(gradient_here[i] for i in range(3 + axis, n, 3))
        for i in range(3, n):
            hessian_here[i, axis] = -sum(hessian_here[max(i, j), min(i, j)] for j in range(3 + axis, n, 3))
    for axis, other in combinations_with_replacement(range(3), 2):
        hessian_here[other, axis] = -sum(hessian_here[i, axis] for i in range(3 + other, n, 3))
    return energy_here, [gradient_here[i] for i in range(n)], hessian_here


def _parts(system, forcefield, parameters):
    parameters = forcefield.parameters if parameters is None else parameters
    points = [tuple(float(x) for x in point) for point in system.molecule.coordinates]
    for term in terms(system, forcefield):
        values = tuple(mpf(parameters[place]) for place in term.places)
        local = tuple(points[atom] for atom in term.atoms)
        columns = [3 * atom + axis for atom in term.atoms for axis in range(3)]
        form = forcefield.form if forcefield.form in OTHERWISE.get(term.kind, ()) else "harmonic"
        part = term_derivatives(term.kind, form, local, values, term.constants)
        yield columns, part if term.factor == 1.0 else _times(mpf(term.factor), *part)


def _times(factor, energy, gradient, hessian):
    return factor * energy, [factor * x for x in gradient], {place: factor * x for place, x in hessian.items()}


def exact_parameters(forcefield):
    """The parameter vector as exact numbers."""
    return tuple(mpf(float(value)) for value in forcefield.parameters)


def energy(system, forcefield, parameters=None):
    """Energy [kcal/mol]."""
    return sum((part[0] for _, part in _parts(system, forcefield, parameters)), mpf(0))


def energy_scale(system, forcefield):
    """Sum of the absolute values of all terms [kcal/mol]."""
    return sum((abs(part[0]) for _, part in _parts(system, forcefield, None)), mpf(0))


def gradient(system, forcefield, parameters=None):
    """dE/dx, shape (3 n_atoms, 1) [kcal/mol/Å]."""
    result = mp.matrix(3 * system.molecule.n_atoms, 1)
    for columns, (_, local, _) in _parts(system, forcefield, parameters):
        for column, value in zip(columns, local, strict=True):
            result[column] += value
    return result


def hessian(system, forcefield, parameters=None):
    """d²E/dx², shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²]."""
    n = 3 * system.molecule.n_atoms
    result = mp.matrix(n, n)
    for columns, (_, _, local) in _parts(system, forcefield, parameters):
        for (i, j), value in local.items():
            result[columns[i], columns[j]] += value
            if i != j:
                result[columns[j], columns[i]] += value
    return result


@lru_cache(maxsize=16)
def atomic_units_hessian(system, forcefield, parameters=None):
    """The Hessian [hartree/bohr²]; its frequencies and its eigenmatrix are asked for one after another."""
    return hessian(system, forcefield, parameters) * mpf(KCALMOLA2_TO_HESSIAN_AU)


def frequencies(system, forcefield, parameters=None):
    """All 3N frequencies, ascending, imaginary ones negative [cm⁻¹]."""
    matrix = atomic_units_hessian(system, forcefield, parameters).copy()
    roots = [mp.sqrt(mpf(float(mass))) for mass in np.repeat(system.molecule.masses, 3)]
    for i, row in enumerate(roots):
        for j, column in enumerate(roots):
            matrix[i, j] /= row * column
    eigenvalues = sorted(mp.eigsy(matrix, eigvals_only=True))
    return [mp.sign(value) * mp.sqrt(abs(value)) * mpf(FREQUENCY_FACTOR) for value in eigenvalues]


def eigenmatrix(system, forcefield, parameters=None):
    """Qᵀ H Q [hartree/bohr²], Q the eigenvectors that NumPy finds for the QM Hessian, taken as exact numbers."""
    _, vectors = np.linalg.eigh(system.molecule.hessian)
    vectors = mp.matrix([[float(x) for x in row] for row in vectors])
    return vectors.T * atomic_units_hessian(system, forcefield, parameters) * vectors


def predictions(systems, forcefield, references, parameters=None, cache=None):
    """What the force field gives for every reference, in its unit.

    Relative energies have their group's constant taken out, the one with the least weighted sum of squares.

    Args:
        systems: the systems.
        forcefield: forms, periodicities, phases, and the parameters where none are given.
        references: kinds energy, relative_energy, frequency, hessian_element, eig_diagonal, eig_offdiagonal.
        parameters: exact parameters, a tuple.
        cache: a dictionary that keeps results between calls, by the parameters that a system uses.

    Returns:
        A list of exact numbers.
    """
    references, cache = list(references), {} if cache is None else cache
    parameters = exact_parameters(forcefield) if parameters is None else parameters
    wholes = {}
    for function, number in {(_WHOLE[reference.kind], reference.system) for reference in references}:
        places = sorted({place for term in terms(systems[number], forcefield) for place in term.places})
        key = (function, number, *(parameters[place] for place in places))
        if key not in cache:
            cache[key] = function(systems[number], forcefield, parameters)
        wholes[function, number] = cache[key]

    values = []
    for reference in references:
        whole, index = wholes[_WHOLE[reference.kind], reference.system], reference.index
        if reference.kind == "eig_diagonal":
            index = (index, index)
        values.append(whole if reference.kind in ("energy", "relative_energy") else whole[index])
    for group in {reference.index for reference in references if reference.kind == "relative_energy"}:
        rows = [row for row, r in enumerate(references) if (r.kind, r.index) == ("relative_energy", group)]
        weights = [mpf(references[row].weight) ** 2 for row in rows]
        excess = [values[row] - mpf(references[row].value) for row in rows]
        shift = dot(weights, excess) / sum(weights)
        for row in rows:
            values[row] -= shift
    return values


_WHOLE = {
    "energy": energy,
    "relative_energy": energy,
    "frequency": frequencies,
    "hessian_element": atomic_units_hessian,
    "eig_diagonal": eigenmatrix,
    "eig_offdiagonal": eigenmatrix,
}
"""Kind of a reference -> the function whose result for its system holds it."""


def loss(systems, forcefield, references, parameters=None, cache=None):
    """Sum of [weight (reference - computed)]²."""
    computed = predictions(systems, forcefield, references, parameters, cache)
    pairs = zip(references, computed, strict=True)
    return sum(((mpf(r.weight) * (mpf(r.value) - value)) ** 2 for r, value in pairs), mpf(0))


def loss_gradient(systems, forcefield, references, places=None, cache=None):
    """Derivatives of the whole loss, by forward differences.

    Args:
        systems: the systems.
        forcefield: forms and parameters.
        references: as in `predictions`.
        places: places in the parameter vector; all of them by default.
        cache: as in `predictions`.

    Returns:
        A list with one exact number per place.
    """
    result, cache = [], {} if cache is None else cache
    here = loss(systems, forcefield, references, cache=cache)
    for place in range(forcefield.n_parameters) if places is None else places:
        moved = list(exact_parameters(forcefield))
        moved[place] += PARAMETER_STEP
        result.append((loss(systems, forcefield, references, tuple(moved), cache) - here) / PARAMETER_STEP)
    return result


def to_array(values):
    """Nearest float64 numbers of a list, vector or matrix, as an array of its shape."""
    if isinstance(values, mp.matrix):
        array = np.array([[float(x) for x in row] for row in values.tolist()])
        return array[:, 0] if values.cols == 1 else array
    return np.array([float(x) for x in values])

"""The whole loss in plain Python and NumPy: one molecule after the other, one term after the other, one sum for each.

No padding, no batches, no compilation, nothing of the package but its constants and its descriptions of molecules. A
term's second derivatives come from Taylor arithmetic: numbers that carry their gradient and Hessian along.

Units: kcal/mol, Å, degrees in the parameter vector, radian inside, hartree/bohr² and cm⁻¹ for references.
"""

import math

import numpy as np

from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

STRAIGHT = 1e-14
"""Sine of an angle below which it is exactly linear, and its bend has no direction."""


class Taylor:
    """A number with its gradient and Hessian."""

    def __init__(self, value, first, second):
        self.value, self.first, self.second = value, first, second

    def through(self, value, slope, curvature):
        """A function of this number, given its value and derivatives there."""
        second = slope * self.second + curvature * np.outer(self.first, self.first)
        return Taylor(value, slope * self.first, second)

    def __add__(self, other):
        """Sum."""
        if not isinstance(other, Taylor):
            return Taylor(self.value + other, self.first, self.second)
        return Taylor(self.value + other.value, self.first + other.first, self.second + other.second)

    def __mul__(self, other):
        """Product."""
        if not isinstance(other, Taylor):
            return Taylor(self.value * other, self.first * other, self.second * other)
        mixed = np.outer(self.first, other.first)
        return Taylor(
            self.value * other.value,
            self.value * other.first + other.value * self.first,
            self.value * other.second + other.value * self.second + mixed + mixed.T,
        )

    def __sub__(self, other):
        """Difference."""
        return self + other * -1.0

    def __pow__(self, n):
        """Power."""
        value = self.value
        return self.through(value**n, n * value ** (n - 1), n * (n - 1) * value ** (n - 2))

    __radd__, __rmul__ = __add__, __mul__


def root(x):
    """Square root."""
    return x**0.5


def exponential(x):
    """Exponential function."""
    value = math.exp(x.value)
    return x.through(value, value, value)


def cosine(x):
    """Cosine."""
    return x.through(math.cos(x.value), -math.sin(x.value), -math.cos(x.value))


def angle_of(y, x):
    """The angle whose sine and cosine are proportional to y and x."""
    square = x.value**2 + y.value**2
    y_1, x_1 = x.value / square, -y.value / square
    y_2 = 2.0 * x_1 * y_1
    mixed = np.outer(y.first, x.first)
    second = y_1 * y.second + x_1 * x.second + (x_1**2 - y_1**2) * (mixed + mixed.T)
    second = second + y_2 * (np.outer(y.first, y.first) - np.outer(x.first, x.first))
    return Taylor(math.atan2(y.value, x.value), y_1 * y.first + x_1 * x.first, second)


def variables(points):
    """The coordinates of a few points as independent variables."""
    size = 3 * len(points)
    units = iter(np.eye(size))
    return [[Taylor(float(x), next(units), np.zeros((size, size))) for x in point] for point in points]


def minus(a, b):
    """Difference of two vectors."""
    return [x - y for x, y in zip(a, b, strict=True)]


def dot(a, b):
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a, b):
    """Vector product."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def length(a):
    """Euclidean norm."""
    return root(dot(a, a))


def stretch(form, points, force_constant, equilibrium):
    """A bond; Urey-Bradley terms are harmonic in every form."""
    d = length(minus(points[1], points[0])) - equilibrium
    if form != "mm3":
        return force_constant * d**2
    return force_constant * (d**2 + -2.55 * d**3 + 7.0 / 12.0 * 2.55**2 * d**4)


def bend(form, points, force_constant, equilibrium):
    """An angle; an exactly linear one is stiff across its axis by 2k times the square of the change of angle."""
    a, b = minus(points[0], points[1]), minus(points[2], points[1])
    normal, along = cross(a, b), dot(a, b)
    sine = math.sqrt(sum(x.value**2 for x in normal)) / abs(along.value)
    if sine < STRAIGHT and along.value < 0.0:
        return _straight(a, b, force_constant, equilibrium)
    # as a difference of supplements, which are small where angles are near 180 degrees
    d = angle_of(length(normal), -1.0 * along) * -1.0 + math.radians(180.0 - equilibrium)
    if form != "mm3":
        return force_constant * d**2
    scale = 180.0 / math.pi
    series = d**2 + -0.014 * scale * d**3 + 5.6e-5 * scale**2 * d**4 + -7e-7 * scale**3 * d**5
    return force_constant * (series + 9e-10 * scale**4 * d**6)


def _straight(a, b, force_constant, equilibrium):
    if equilibrium != 180.0:
        raise ValueError(f"a linear angle with the equilibrium {equilibrium} has a kink")
    first, second = (np.array([x.value for x in vector]) for vector in (a, b))
    r, s = np.linalg.norm(first), np.linalg.norm(second)
    across = np.eye(3) - np.outer(first, first) / r**2
    change = np.array([1.0 / r, -1.0 / r - 1.0 / s, 1.0 / s])
    return Taylor(0.0, np.zeros(9), 2.0 * force_constant * np.kron(np.outer(change, change), across))


def turn(points, force_constant, periodicity, phase):
    """A torsion."""
    a, b, c = (minus(points[i + 1], points[i]) for i in range(3))
    first, second = cross(a, b), cross(b, c)
    phi = angle_of(length(b) * dot(a, second), dot(first, second))
    return force_constant * (1.0 + cosine(periodicity * phi + -math.radians(phase)))


def touch(form, points, radii, epsilons):
    """A van der Waals pair."""
    r, epsilon = length(minus(points[1], points[0])), math.sqrt(epsilons[0] * epsilons[1])
    if form == "harmonic":
        sixth = (2.0 / 2.0 ** (1.0 / 6.0) * math.sqrt(radii[0] * radii[1])) ** 6 * r**-6
        return 4.0 * epsilon * (sixth**2 - sixth)
    minimum = radii[0] + radii[1]
    if r.value < 0.34 * minimum:
        return epsilon * 184000.0 * math.exp(-12.0 * 0.34) * (0.34 * minimum) ** 12 * r**-12
    return epsilon * (184000.0 * exponential(-12.0 / minimum * r) + -2.25 * minimum**6 * r**-6)


def term_energies(system, forcefield):
    """Atoms and energy of every term."""
    form, points = forcefield.form, system.molecule.coordinates
    blocks = {
        "bond": (forcefield.bond_force_constants, forcefield.bond_lengths),
        "urey_bradley": (forcefield.urey_bradley_force_constants, forcefield.urey_bradley_lengths),
        "angle": (forcefield.angle_force_constants, forcefield.angle_values),
        "torsion": (forcefield.torsion_force_constants, forcefield.torsion_periodicities, forcefield.torsion_phases),
    }
    functions = {"bond": stretch, "urey_bradley": stretch, "angle": bend}
    for kind, columns in blocks.items():
        for atoms, row in zip(*system.terms(kind), strict=True):
            local, parameters = variables(points[atoms]), [float(column[row]) for column in columns]
            if kind == "torsion":
                yield atoms, turn(local, *parameters)
            else:
                yield atoms, functions[kind]("harmonic" if kind == "urey_bradley" else form, local, *parameters)
    for atoms in system.vdw_pairs:
        types = system.vdw_types[atoms]
        radii, epsilons = forcefield.vdw_radii[types].tolist(), forcefield.vdw_epsilons[types].tolist()
        yield atoms, touch(form, variables(points[atoms]), radii, epsilons)


def energy_and_hessian(system, forcefield):
    """Energy [kcal/mol], the sum of all terms' absolute values, and the Hessian [hartree/bohr²]."""
    size = 3 * system.molecule.n_atoms
    energy, scale, hessian = 0.0, 0.0, np.zeros((size, size))
    for atoms, term in term_energies(system, forcefield):
        energy, scale = energy + term.value, scale + abs(term.value)
        columns = [3 * int(atom) + axis for atom in atoms for axis in range(3)]
        hessian[np.ix_(columns, columns)] += term.second
    return energy, scale, hessian * KCALMOLA2_TO_HESSIAN_AU


def residuals(systems, forcefield, references):
    """Weight (reference - computed) of every reference, in their order."""
    wholes = [_everything(system, forcefield) for system in systems]
    computed = [_computed(wholes[reference.system], reference) for reference in references]
    for group in {reference.index for reference in references if reference.kind == "relative_energy"}:
        rows = [row for row, r in enumerate(references) if (r.kind, r.index) == ("relative_energy", group)]
        weights = [references[row].weight ** 2 for row in rows]
        excess = [weight * (computed[row] - references[row].value) for weight, row in zip(weights, rows, strict=True)]
        for row in rows:
            computed[row] -= sum(excess) / sum(weights)
    return np.array([r.weight * (r.value - value) for r, value in zip(references, computed, strict=True)])


def _everything(system, forcefield):
    energy, _, hessian = energy_and_hessian(system, forcefield)
    _, vectors = np.linalg.eigh(system.molecule.hessian)
    return energy, spectrum(system, hessian)[1], hessian, vectors.T @ hessian @ vectors


def _computed(whole, reference):
    energy, frequencies, hessian, eigenmatrix = whole
    if reference.kind == "eig_diagonal":
        return eigenmatrix[reference.index, reference.index]
    if reference.kind == "eig_offdiagonal":
        return eigenmatrix[reference.index]
    if reference.kind == "hessian_element":
        return hessian[reference.index]
    return frequencies[reference.index] if reference.kind == "frequency" else energy


def spectrum(system, hessian):
    """Eigenvalues of the mass-weighted Hessian [hartree/(bohr² u)] and frequencies [cm⁻¹], ascending."""
    weights = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    eigenvalues = np.linalg.eigvalsh(hessian * np.outer(weights, weights))
    return eigenvalues, FREQUENCY_FACTOR * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))

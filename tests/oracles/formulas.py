"""The force fields written out once more, in numbers of 150 digits, from the published formulas.

Harmonic: k (r - r0)², k (θ - θ0)², k (1 + cos(n φ - γ)), Lennard-Jones 12-6 with geometric means of σ and ε.
Amber: the same, with the arithmetic mean of σ.
MM3: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551 (stretch and bend series), Lii and Allinger 1989, 111, 8566
(exponential-6), with q2mm's constants, and stretch-bend that fades out at straight angles. All else is the same in all.
Damped: harmonic, with torsions that fade out in the same way.

Units: kcal/mol, Å, radian; equilibrium angles and phases come in degrees.
"""

import mpmath

mp = mpmath.mp.clone()
"""An arithmetic of its own, so that no test depends on mpmath's global precision."""
mp.dps = 150
mpf = mp.mpf
RADIAN = mp.pi / 180
"""Per degree."""
CUBIC, SERIES = mpf("2.55"), [mpf(each) for each in ("-0.014", "5.6e-5", "-7e-7", "9e-10")]
"""Of MM3: the stretch's constant [1/Å], and the bend's series in powers of degrees."""
ROOT = mpf(2) ** (mpf(1) / 6)
TEN, FIVE = mp.sin(10 * RADIAN), mp.sin(5 * RADIAN)
"""Sines of 10 and 5 degrees."""


def minus(a, b):
    """Difference of two vectors."""
    return [x - y for x, y in zip(a, b, strict=True)]


def dot(a, b):
    """Scalar product."""
    return sum((x * y for x, y in zip(a, b, strict=True)), mpf(0))


def cross(a, b):
    """Vector product."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def length(a):
    """Euclidean norm."""
    return mp.sqrt(dot(a, a))


def bond_angle(i, centre, k):
    """Angle at `centre` [rad]; exact on both ends, where an arccosine loses its digits."""
    a, b = minus(i, centre), minus(k, centre)
    return mp.atan2(length(cross(a, b)), dot(a, b))


def dihedral(i, j, k, m):
    """Dihedral i-j-k-m [rad], IUPAC sign: clockwise positive when looking from j to k."""
    a, b, c = minus(j, i), minus(k, j), minus(m, k)
    first, second = cross(a, b), cross(b, c)
    return mp.atan2(length(b) * dot(a, second), dot(first, second))


def twelve_six(r, sigma, epsilon):
    """Lennard-Jones."""
    return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)


def sigma_of(radius):
    """Where a 12-6 potential is 0, from half the distance of its minimum."""
    return 2 * radius / ROOT


def van_der_waals(form, r, radii, epsilons):
    """12-6 with a mean of σ and the geometric one of ε, or MM3's exponential-6 with the sum of the radii."""
    epsilon, (first, second) = mp.sqrt(epsilons[0] * epsilons[1]), map(sigma_of, radii)
    if form == "mm3":
        return exponential_six(r, radii[0] + radii[1], epsilon)
    return twelve_six(r, (first + second) / 2 if form == "amber" else mp.sqrt(first * second), epsilon)


def exponential_six(r, minimum, epsilon):
    """That of MM3, with its wall below 0.34 of the minimum's distance."""
    edge = mpf(34) / 100
    if r < edge * minimum:
        return epsilon * 184000 * mp.exp(-12 * edge) * (edge * minimum / r) ** 12
    return epsilon * (184000 * mp.exp(-12 * r / minimum) - mpf(9) / 4 * (minimum / r) ** 6)


def wrapped(angle):
    """The same angle within ±π."""
    return mp.atan2(mp.sin(angle), mp.cos(angle))


def fading(sine):
    """1 above the sine of 10 degrees, 0 below that of 5, t² (3 - 2 t) between them."""
    t = min(max((sine - FIVE) / (TEN - FIVE), mpf(0)), mpf(1))
    return t**2 * (3 - 2 * t)


def coupling_energy(kind, form, points, values):
    """Stretch-stretch, stretch-bend, bond-bend or bend-bend: a constant times the product of two deviations."""
    if kind == "bend_bend":
        i, centre, k, m = points
        angles = bond_angle(i, centre, k), bond_angle(k, centre, m)
        return values[0] * (angles[0] - values[1] * RADIAN) * (angles[1] - values[2] * RADIAN)
    i, centre, k = points
    n_bonds = 1 if kind == "bond_bend" else 2
    stretches = [length(minus(end, centre)) - values[1 + n] for n, end in enumerate((i, k)[:n_bonds])]
    if kind == "stretch_stretch":
        return values[0] * stretches[0] * stretches[1]
    angle = bond_angle(i, centre, k)
    fade = fading(mp.sin(angle)) if form == "mm3" else 1
    return fade * values[0] * sum(stretches) * (angle - values[1 + n_bonds] * RADIAN)


def term_energy(kind, form, points, values, constants=()):
    """Energy of one term [kcal/mol].

    Args:
        kind: that of the package's kinds.
        form: harmonic, amber, mm3 or damped; many kinds do not depend on it.
        points: the term's atoms [Å].
        values: its parameters and those it reads; of pairs those of the first atom, then of the second.
        constants: periodicity and phase [degrees] of a torsion.
    """
    if kind == "coulomb":
        return mpf("332.06") * values[0] * values[1] / length(minus(*points))
    if kind == "special_vdw":
        r, (radius, epsilon) = length(minus(*points)), values
        return exponential_six(r, radius, epsilon) if form == "mm3" else twelve_six(r, sigma_of(radius), epsilon)
    if kind in ("harmonic_dihedral", "harmonic_improper"):
        return values[0] * wrapped(dihedral(*points) - values[1] * RADIAN) ** 2
    if kind in ("stretch_stretch", "stretch_bend", "bond_bend", "bend_bend"):
        return coupling_energy(kind, form, points, values)
    if kind == "vdw":
        return van_der_waals(form, length(minus(*points)), values[::2], values[1::2])
    if kind in ("torsion", "improper"):
        periodicity, phase = constants
        fade = 1
        if kind == "torsion" and form == "damped":
            fade = fading(min(mp.sin(bond_angle(*points[:3])), mp.sin(bond_angle(*points[1:]))))
        return fade * values[0] * (1 + mp.cos(mpf(periodicity) * dihedral(*points) - mpf(phase) * RADIAN))
    if kind == "angle":
        delta = bond_angle(*points) - values[1] * RADIAN
        degrees = delta / RADIAN
        anharmonic = 1 + sum(c * degrees**power for power, c in enumerate(SERIES, start=1))
    else:
        delta = length(minus(*points)) - values[1]
        anharmonic = 1 - CUBIC * delta + mpf(7) / 12 * CUBIC**2 * delta**2
    harmonic = values[0] * delta**2
    return harmonic * anharmonic if form == "mm3" and kind != "urey_bradley" else harmonic

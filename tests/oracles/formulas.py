"""The two force fields written out once more, in numbers of 150 digits, from the published formulas.

Harmonic: k (r - r0)², k (θ - θ0)², k (1 + cos(n φ - γ)), Lennard-Jones 12-6 with geometric means of σ and ε.
MM3: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551 (stretch and bend series), Lii and Allinger 1989, 111, 8566
(exponential-6), with q2mm's constants. Torsions and Urey-Bradley springs are the same in both.

Units: kcal/mol, Å, radian; equilibrium angles and phases come in degrees.
"""

import mpmath

mp = mpmath.mp.clone()
"""An arithmetic of its own, so that no test depends on mpmath's global precision."""
mp.dps = 150
mpf = mp.mpf


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


def van_der_waals(form, r, radii, epsilons):
    """12-6 with geometric means of σ and ε, or the exponential-6 of MM3 with its wall below 0.34 of the minimum."""
    epsilon = mp.sqrt(epsilons[0] * epsilons[1])
    if form == "harmonic":
        sigmas = [2 * radius / mpf(2) ** (mpf(1) / 6) for radius in radii]
        sixth = (mp.sqrt(sigmas[0] * sigmas[1]) / r) ** 6
        return 4 * epsilon * (sixth**2 - sixth)
    minimum, edge = radii[0] + radii[1], mpf(34) / 100
    if r < edge * minimum:
        return epsilon * 184000 * mp.exp(-12 * edge) * (edge * minimum / r) ** 12
    return epsilon * (184000 * mp.exp(-12 * r / minimum) - mpf(9) / 4 * (minimum / r) ** 6)


def term_energy(kind, form, points, values, constants=()):
    """Energy of one term [kcal/mol].

    Args:
        kind: bond, angle, torsion, vdw or urey_bradley.
        form: harmonic or mm3; torsions and Urey-Bradley terms do not depend on it.
        points: the term's atoms [Å].
        values: its parameters; for vdw radius, ε of the first atom, then of the second.
        constants: periodicity and phase [degrees] of a torsion.
    """
    if kind == "vdw":
        return van_der_waals(form, length(minus(*points)), values[::2], values[1::2])
    if kind == "torsion":
        periodicity, phase = constants
        return values[0] * (1 + mp.cos(mpf(periodicity) * dihedral(*points) - mpf(phase) * mp.pi / 180))
    if kind == "angle":
        delta = bond_angle(*points) - values[1] * mp.pi / 180
        degrees = delta * 180 / mp.pi
        series = [mpf(c) for c in ("-0.014", "5.6e-5", "-7e-7", "9e-10")]
        anharmonic = 1 + sum(c * degrees**power for power, c in enumerate(series, start=1))
    else:
        delta = length(minus(*points)) - values[1]
        cubic = mpf("2.55")
        anharmonic = 1 - cubic * delta + mpf(7) / 12 * cubic**2 * delta**2
    harmonic = values[0] * delta**2
    return harmonic * anharmonic if form == "mm3" and kind != "urey_bradley" else harmonic

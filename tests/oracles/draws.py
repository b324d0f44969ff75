"""Random geometries and parameters of single terms, one molecule per term."""

import numpy as np

DRAWS = 200


def chain(rng, lengths, angles=(), dihedral=0.0):
    """Points with these distances, angles and dihedral [rad], turned and shifted at random."""
    points = [np.zeros(3), np.array([lengths[0], 0.0, 0.0])]
    if angles:
        a = angles[0]
        points.append(points[1] + lengths[1] * np.array([-np.cos(a), np.sin(a), 0.0]))
    if len(angles) == 2:
        along = (points[2] - points[1]) / lengths[1]
        across = np.cross([0.0, 0.0, 1.0], along)
        out = -across * np.cos(dihedral) + np.array([0.0, 0.0, 1.0]) * np.sin(dihedral)
        points.append(points[2] + lengths[2] * (-np.cos(angles[1]) * along + np.sin(angles[1]) * out))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.array(points) @ rotation + rng.uniform(-3.0, 3.0, 3)


def deviations(rng, smallest, largest):
    """Of either sign, none too small: a term near its minimum has no relative precision to measure."""
    return rng.uniform(smallest, largest, DRAWS) * rng.choice([-1.0, 1.0], DRAWS)


def draw_bonds(rng):
    """Distances on both sides of their equilibrium, force constants of either sign."""
    distances = rng.uniform(0.9, 2.5, DRAWS)
    points = [chain(rng, [distance]) for distance in distances]
    lengths = distances + deviations(rng, 0.01, 0.6)
    parameters = {"force_constants": rng.uniform(-800.0, 800.0, DRAWS), "lengths": lengths}
    terms = [{"bond_atoms": [(0, 1)], "bond_types": [draw]} for draw in range(DRAWS)]
    return points, terms, {f"bond_{name}": values for name, values in parameters.items()}


def draw_urey_bradleys(rng):
    """As bonds."""
    points, _, parameters = draw_bonds(rng)
    terms = [{"urey_bradley_atoms": [(1, 0)], "urey_bradley_types": [draw]} for draw in range(DRAWS)]
    return points, terms, {name.replace("bond", "urey_bradley"): values for name, values in parameters.items()}


def draw_angles(rng):
    """Angles from 35 to 179 degrees."""
    angles = rng.uniform(35.0, 179.0, DRAWS)
    points = [chain(rng, rng.uniform(0.9, 2.0, 2), [np.deg2rad(angle)]) for angle in angles]
    terms = [{"angle_atoms": [(0, 1, 2)], "angle_types": [draw]} for draw in range(DRAWS)]
    values = angles + deviations(rng, 1.0, 35.0)
    parameters = {
        "angle_force_constants": rng.uniform(-200.0, 200.0, DRAWS),
        "angle_values": np.where(values > 180.0, 2.0 * angles - values, values),
    }
    return points, terms, parameters


def draw_torsions(rng):
    """Any dihedral, periodicities 1 to 6, phases that avoid the extrema; angles from 60 to 150 degrees."""
    dihedrals, periodicities = rng.uniform(-180.0, 180.0, DRAWS), rng.integers(1, 7, DRAWS)
    points = [
        chain(rng, rng.uniform(0.9, 2.0, 3), list(np.deg2rad(rng.uniform(60.0, 150.0, 2))), np.deg2rad(dihedral))
        for dihedral in dihedrals
    ]
    terms = [{"torsion_atoms": [(0, 1, 2, 3)], "torsion_types": [draw]} for draw in range(DRAWS)]
    parameters = {
        "torsion_force_constants": rng.uniform(-10.0, 10.0, DRAWS),
        "torsion_periodicities": periodicities,
        "torsion_phases": np.remainder(periodicities * dihedrals - deviations(rng, 5.0, 170.0), 360.0),
    }
    return points, terms, parameters


def draw_vdw(rng):
    """Two different atoms; every fourth pair is far inside MM3's wall at 0.34 of the minimum."""
    inside = np.arange(DRAWS) % 4 == 0
    distances = np.where(inside, rng.uniform(1.0, 2.0, DRAWS), rng.uniform(2.0, 6.0, DRAWS))
    points = [chain(rng, [distance]) for distance in distances]
    terms = [{"vdw_pairs": [(0, 1)], "vdw_types": [2 * draw, 2 * draw + 1]} for draw in range(DRAWS)]
    radii = np.where(np.repeat(inside, 2), rng.uniform(3.5, 5.0, 2 * DRAWS), rng.uniform(1.0, 2.5, 2 * DRAWS))
    return points, terms, {"vdw_radii": radii, "vdw_epsilons": rng.uniform(0.001, 2.0, 2 * DRAWS)}


DRAW = {
    "bond": draw_bonds,
    "angle": draw_angles,
    "torsion": draw_torsions,
    "vdw": draw_vdw,
    "urey_bradley": draw_urey_bradleys,
}
"""Kind of term -> its draw: from a random generator to points [Å] and terms, `DRAWS` of each, and parameters."""

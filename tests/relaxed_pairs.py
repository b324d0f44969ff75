"""Two molecules of two atoms with a bond each, whose own minima are known on paper."""

import numpy as np

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

FORCEFIELD = ForceField(
    form="harmonic",
    bond_force_constants=[1300.0, 600.0],
    bond_lengths=[1.14, 0.93],
)
LABELS = ("bond 0 k", "bond 0 r0", "bond 1 k", "bond 1 r0")
WEIGHTS = np.array([20.0, 0.01, 10.0])
VALUES = np.array([1.12, 2100.0, 0.95])
MASSES = 12.011, 15.999


def pair(symbols, distance: float, direction, **terms) -> System:
    """Two atoms at a distance along a direction."""
    end = distance * np.array(direction) / np.linalg.norm(direction)
    name = "".join(symbols).lower()
    masses = MASSES if name == "co" else None
    return System(Molecule(symbols, np.stack([np.zeros(3), end]), name=name, masses=masses), **terms)


SYSTEMS = (
    pair(["C", "O"], 1.19, (0.0, 0.0, -1.0), bond_atoms=[(0, 1)], bond_types=[0]),
    pair(["H", "F"], 0.97, (1.0, 2.0, 2.0), bond_atoms=[(0, 1)], bond_types=[1]),
)


def objective(**options) -> FusedObjective:
    """A length of each, and the frequency of the first; bounds leave all values open."""
    kinds = ("bond_length", "relaxed_frequency", "bond_length")
    references = [
        Reference(kind, value, weight, system, 0 if kind == "relaxed_frequency" else (0, 1))
        for kind, value, weight, system in zip(kinds, VALUES, WEIGHTS, (0, 0, 1), strict=True)
    ]
    return FusedObjective(SYSTEMS, FORCEFIELD, references, bounds=[(None, None)] * len(LABELS), **options)


def on_paper(x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (3,), their derivatives (3, 4) and the second one of the frequency by the force constant."""
    k, first, _, second = x
    reduced = MASSES[0] * MASSES[1] / sum(MASSES)
    frequency = FREQUENCY_FACTOR * np.sqrt(2.0 * k * KCALMOLA2_TO_HESSIAN_AU / reduced)
    slopes = np.zeros((3, 4))
    slopes[0, 1] = slopes[2, 3] = 1.0
    slopes[1, 0] = frequency / (2.0 * k)
    return np.array([first, frequency, second]), slopes, -frequency / (4.0 * k**2)

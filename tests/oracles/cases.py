"""Molecules with every kind of term away from equilibrium, references of every kind, and geometries built by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from bare import perceive_bare

from q2mm_accel import Molecule, ReferenceData, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.plausibility import CHECKS

FORMS = ("harmonic", "mm3")
NAMES = ("hcn", "formaldehyde", "h2o2", "ch3f", "methanol")
"""Exactly linear, planar (with an improper torsion), chiral, symmetric top, no symmetry but a plane."""


def perturbed(forcefield: ForceField, rng) -> ForceField:
    """A force field off its equilibrium in every parameter and phase, by its typical scale; θ0 = 180 stays."""
    linear = forcefield.angle_values > 179.9
    step = forcefield.typical_scale * np.where(np.char.endswith(np.array(forcefield.labels), "epsilon"), 0.2, 0.9)
    vector = forcefield.parameters + rng.uniform(-1.0, 1.0, len(step)) * step
    moved = forcefield.with_parameters(np.clip(vector, forcefield.bounds.lb, forcefield.bounds.ub))
    return replace(
        moved,
        angle_values=np.where(linear, 180.0, moved.angle_values),
        torsion_phases=rng.uniform(0.0, 360.0, len(moved.torsion_phases)),
    )


def systems_with_all_terms(form: str, names=NAMES, seed: int = 3):
    """Systems with bonds, angles, torsions, impropers, van der Waals and Urey-Bradley terms, and their force field.

    Atoms two bonds apart have a van der Waals term here, or hydrogen would only meet hydrogen.
    """
    molecules = [load_molecule(name) for name in names]
    systems, forcefield = perceive_bare(molecules, form=form, impropers=True, vdw=True, urey_bradley=True)
    if forcefield.n_types("improper"):
        systems, forcefield = _with_impropers_as_torsions(systems, forcefield)
    systems = [replace(system, vdw_pairs=_not_bonded(system)) for system in systems]
    return systems, perturbed(forcefield, np.random.default_rng(seed))


def _with_impropers_as_torsions(systems, forcefield: ForceField):
    """Impropers as torsions of periodicity 2 and phase 180, their types before all others: plain knows no other kind."""
    count = forcefield.n_types("improper")
    places = {kind: forcefield.positions(kind).ravel() for kind in ("bond", "angle", "improper", "torsion")}
    order = np.concatenate([*places.values(), np.arange(places["torsion"].max() + 1, places["improper"].min())])
    fields = {name: array for name, array in forcefield.arrays.items() if not name.startswith("improper")}
    for name in ("force_constants", "periodicities", "phases"):
        both = (getattr(forcefield, f"{kind}_{name}") for kind in ("improper", "torsion"))
        fields[f"torsion_{name}"] = np.concatenate([*both])
    labels = [forcefield.labels[place] for place in order]
    changed = []
    for system in systems:
        kinds = ((system.improper_atoms, system.improper_types), (system.torsion_atoms, system.torsion_types + count))
        atoms, types = (np.concatenate([*each]) for each in zip(*kinds, strict=True))
        arrays = {name: array for name, array in system.arrays.items() if not name.startswith("improper")}
        changed.append(System(system.molecule, arrays={**arrays, "torsion_atoms": atoms, "torsion_types": types}))
    return changed, ForceField(forcefield.form, labels=labels, arrays=fields).with_bounds(**SIGNED_BOUNDS)


def _not_bonded(system) -> np.ndarray:
    bonds = {tuple(sorted(pair)) for pair in system.bond_atoms.tolist()}
    pairs = combinations(range(system.molecule.n_atoms), 2)
    return np.array([pair for pair in pairs if pair not in bonds], dtype=np.int64).reshape(-1, 2)


def references_of_all_kinds(systems, energies: bool = True) -> ReferenceData:
    """All 3N - 6 highest frequencies, the whole Hessian and eigenmatrix, energies and relative energies.

    Args:
        systems: at least two, with QM Hessians.
        energies: whether to add the relative energies, which tie the molecules together.
    """
    references = ReferenceData()
    for number, system in enumerate(systems):
        molecule = system.molecule
        modes = range(6, 3 * molecule.n_atoms)
        references.add_frequencies(molecule.frequencies()[6:], modes, weight=0.001, system=number)
        references.add_hessian(molecule.hessian, system=number, weight_diagonal=1.0, weight_offdiagonal=0.5)
        references.add_eigenmatrix(molecule.hessian, system=number, weight_first=1.0, weight_diagonal=1.0)
        references.add_energy(3.0 - number, weight=0.05, system=number)
    if energies:
        numbers = range(len(systems))
        references.add_relative_energies([float(number**2) for number in numbers], numbers, weight=0.1)
    return references


def rotation(rng) -> np.ndarray:
    """A random proper rotation, shape (3, 3), uniform over all of them."""
    matrix, triangle = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(triangle))
    return matrix * np.linalg.det(matrix)


def at(molecule: Molecule, coordinates, hessian=None) -> Molecule:
    """The same atoms at other coordinates."""
    return replace(molecule, coordinates=coordinates, hessian=hessian, waived=CHECKS)


def carbon_dioxide() -> Molecule:
    """Exactly linear, along x."""
    return Molecule(["O", "C", "O"], [[-1.16, 0.0, 0.0], [0.0, 0.0, 0.0], [1.16, 0.0, 0.0]], name="co2")


def bent_hcn(supplement: float, turn=None) -> Molecule:
    """H-C-N with the angle π - `supplement` [rad], in the xy plane or turned by a rotation matrix."""
    nitrogen = 1.15 * np.array([np.cos(supplement), np.sin(supplement), 0.0])
    points = np.array([[-1.07, 0.0, 0.0], [0.0, 0.0, 0.0], nitrogen])
    return Molecule("HCN", points if turn is None else points @ turn.T, name=f"hcn bent by {supplement:.3g} rad")


def methane() -> Molecule:
    """Td."""
    corners = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    return Molecule("CHHHH", np.concatenate([np.zeros((1, 3)), 1.09 / np.sqrt(3.0) * corners]), name="methane")


def ammonia() -> Molecule:
    """C3v, with angles of 107 degrees."""
    angles, side = 2.0 * np.pi / 3.0 * np.arange(3), 1.012
    radius = 2.0 * side * np.sin(np.radians(107.0) / 2.0) / np.sqrt(3.0)
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(3, -np.sqrt(side**2 - radius**2))], axis=1)
    return Molecule("NHHH", np.concatenate([np.zeros((1, 3)), ring]), name="ammonia")


def benzene() -> Molecule:
    """D6h."""
    angles = np.pi / 3.0 * np.arange(6)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    return Molecule("C" * 6 + "H" * 6, np.concatenate([1.39 * ring, 2.48 * ring]), name="benzene")

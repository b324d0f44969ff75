"""Molecules in which every kind of term of the package occurs, with parameters away from every equilibrium."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import numpy as np
from bare import perceive_bare

from q2mm_accel import ForceField, System, register_form
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model.kinds import FORMS, KINDS
from q2mm_accel.model.topology import neighbours

CHARGES = {"C": 0.0, "O": -0.6, "H": 0.35}
"""By element [e]; a charge of 0 is one that still has derivatives."""


@contextmanager
def forgotten_after() -> Iterator[None]:
    """Kinds and forms that are registered meanwhile are forgotten at the end."""
    before = [(registry, dict(registry)) for registry in (KINDS, FORMS)]
    try:
        yield
    finally:
        for registry, content in before:
            registry.clear()
            registry.update(content)


def damped_form() -> str:
    """The harmonic form with damped torsions."""
    if "damped" not in FORMS:
        register_form("damped", like="harmonic", damped_torsions=True)
    return "damped"


def displaced(name: str, seed: int, size: float = 0.06):
    """A molecule with its QM Hessian, off its minimum, so that no two modes are degenerate and no term vanishes."""
    molecule = load_molecule(name)
    noise = np.random.default_rng(seed).normal(scale=size, size=molecule.coordinates.shape)
    return replace(molecule, coordinates=molecule.coordinates + noise, check=False)


def everything(form: str, names=("formaldehyde", "methanol"), seed: int = 8) -> tuple[list[System], ForceField]:
    """Systems with every kind of term and pair, 1-4 factors and given pairs included, and their force field."""
    rng = np.random.default_rng(seed)
    molecules = [displaced(name, seed + number) for number, name in enumerate(names)]
    systems, perceived = perceive_bare(molecules, torsions=False, urey_bradley=True)
    systems = [System(system.molecule, arrays=system.arrays, **_further_terms(system)) for system in systems]
    values = {name: array * rng.uniform(0.9, 1.1, len(array)) for name, array in perceived.arrays.items()}
    return systems, ForceField(form=form, **values, **_further_parameters(systems, rng))


def _further_terms(system: System) -> dict:
    molecule, angles = system.molecule, system.angle_atoms
    near, symbols = neighbours(molecule.n_atoms, system.bond_atoms), molecule.symbols
    stars = [(*three, centre) for centre, around in enumerate(near) for three in combinations(around, 3)]
    chains = np.array([(a, centre, c, b) for a, b, c, centre in stars], dtype=np.int64)[:2]
    bends = np.array([(a, centre, b, c) for a, b, c, centre in stars], dtype=np.int64)[:3]
    crossed = np.array([(a, b, centre, c) for a, b, c, centre in stars], dtype=np.int64)[:2]
    bonded = {tuple(sorted(pair)) for pair in system.bond_atoms.tolist()}
    pairs = np.array([pair for pair in combinations(range(molecule.n_atoms), 2) if pair not in bonded])
    elements = [sorted(CHARGES).index(symbol) for symbol in symbols]
    factors = np.where(np.arange(len(pairs)) % 3 == 0, 0.5, 1.0)
    of_angles = {"stretch_stretch": angles, "stretch_bend": angles, "bond_bend": angles}
    terms = {
        **of_angles,
        "bend_bend": bends,
        "torsion": chains,
        "harmonic_dihedral": chains,
        "improper": crossed,
        "harmonic_improper": crossed,
        "special_vdw": pairs[-1:],
    }
    fields = {f"{kind}_atoms": atoms for kind, atoms in terms.items()}
    fields |= {f"{kind}_types": system.angle_types if kind in of_angles else np.arange(len(terms[kind])) for kind in terms}
    for kind, scaled in (("vdw", factors), ("coulomb", 1.0 / (2.4 * factors))):
        fields |= {f"{kind}_pairs": pairs[:-1], f"{kind}_types": elements, f"{kind}_factors": scaled[:-1]}
    return fields


def _further_parameters(systems: list[System], rng) -> dict:
    counts = {kind: max(system.terms(kind)[1].max(initial=-1) + 1 for system in systems) for kind in _SIZES}
    values = {}
    for kind, sizes in _SIZES.items():
        for field, (lower, upper) in zip(KINDS[kind].fields, sizes, strict=True):
            values[field] = rng.uniform(lower, upper, counts[kind])
    for kind in ("torsion", "improper"):
        values[f"{kind}_periodicities"] = 1 + np.arange(counts[kind]) % 3
        values[f"{kind}_phases"] = rng.uniform(20.0, 340.0, counts[kind])
    elements = sorted(CHARGES)
    return values | {
        "vdw_radii": rng.uniform(1.2, 1.9, len(elements)),
        "vdw_epsilons": rng.uniform(0.02, 0.2, len(elements)),
        "coulomb_charges": [CHARGES[element] for element in elements],
    }


_SIZES = {
    "torsion": [(-2.0, 2.0)],
    "harmonic_dihedral": [(5.0, 20.0), (-180.0, 180.0)],
    "improper": [(-2.0, 2.0)],
    "harmonic_improper": [(5.0, 20.0), (-180.0, 180.0)],
    "stretch_stretch": [(-60.0, 60.0)],
    "stretch_bend": [(-60.0, 60.0)],
    "bend_bend": [(-20.0, 20.0)],
    "special_vdw": [(1.3, 1.8), (0.02, 0.2)],
    "bond_bend": [(-60.0, 60.0)],
}
"""Kind -> ranges of its parameters."""

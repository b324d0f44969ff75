"""Molecules with the terms that files can hold, off their minima, and readers of the files that the package writes."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm
from openmm import app
from oracles.openmm_engine import context_of, energy_of, forces_of, hessian_of
from oracles.typed_files import amber_files, mm3_files, tinker_files

from q2mm_accel import ForceField, System, perceive
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.writers.openmm_xml import openmm_topology


def problem(name: str, form: str, seed: int = 3, **options) -> tuple[System, ForceField]:
    """A molecule with bonds, angles, torsions, impropers, charges and van der Waals pairs, with 1-4 factors in "amber"."""
    molecule = load_molecule(name)
    rng = np.random.default_rng(seed)
    moved = molecule.coordinates + rng.normal(scale=0.03, size=molecule.coordinates.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torsions across straight angles
        (system,), forcefield = perceive([molecule], form=form, **{"vdw": True, **options})
    step = forcefield.typical_scale * rng.uniform(-0.2, 0.2, forcefield.n_parameters)
    arrays = dict(forcefield.with_parameters(np.abs(forcefield.parameters + step)).arrays)
    arrays["angle_values"] = np.where(forcefield.angle_values > 179.0, 180.0, arrays["angle_values"])
    pairs = {}
    if len(system.vdw_pairs) and form != "mm3":
        arrays["coulomb_charges"] = rng.uniform(-0.5, 0.5, forcefield.n_types("vdw"))
        factors = np.where(system.vdw_factors == 1.0, 1.0, 1.0 / 1.2)
        pairs = {"coulomb_pairs": system.vdw_pairs, "coulomb_types": system.vdw_types, "coulomb_factors": factors}
    molecule = replace(molecule, coordinates=moved, hessian=None, waived=CHECKS)
    return System(molecule, arrays={**system.arrays, **pairs}), ForceField(form, arrays=arrays)


def read_xml(path: Path, system: System) -> openmm.System:
    """An OpenMM ForceField file, for a topology of the molecule."""
    return app.ForceField(str(path)).createSystem(openmm_topology(system), nonbondedMethod=app.NoCutoff, constraints=None)


def read_system(path: Path, system: System) -> openmm.System:
    """A serialized OpenMM System."""
    return openmm.XmlSerializer.deserialize(path.read_text())


def read_prmtop(path: Path, system: System) -> openmm.System:
    """An AMBER topology by OpenMM's own reader."""
    return app.AmberPrmtopFile(str(path)).createSystem(nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False)


def read_top(path: Path, system: System) -> openmm.System:
    """A GROMACS topology by OpenMM's own reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file open
        file = app.GromacsTopFile(str(path))
    return file.createSystem(nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False)


def read_prm(path: Path, system: System) -> openmm.System:
    """Tinker files."""
    return tinker_files(path.read_text(), Path(f"{path}.xyz").read_text()).system()


def read_frcmod(path: Path, system: System) -> openmm.System:
    """AMBER parameters with the types of a .mol2."""
    return amber_files(path.read_text(), Path(f"{path}.mol2").read_text()).system()


def read_fld(path: Path, system: System) -> openmm.System:
    """MM3* parameters with the types of a .mol2."""
    return mm3_files(path.read_text(), Path(f"{path}.mol2").read_text(), system.molecule.masses).system()


READERS: dict[str, Callable[[Path, System], openmm.System]] = {
    ".xml": read_xml,
    ".system.xml": read_system,
    ".prmtop": read_prmtop,
    ".top": read_top,
    ".prm": read_prm,
    ".frcmod": read_frcmod,
    ".fld": read_fld,
}


def evaluated(model: openmm.System, system: System) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and Hessian of an OpenMM System at the geometry of a system, in our units."""
    context = context_of(model, system.molecule.coordinates)
    return energy_of(context), forces_of(context), hessian_of(context, system.molecule.coordinates)

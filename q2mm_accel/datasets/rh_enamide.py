"""Rh-enamide: nine transition states of Rh-catalysed enamide hydrogenation, with B3LYP/LACVP** Hessians.

Data: examples/rh-enamide of q2mm (E. Hansen and contributors, MIT licence); the force field is that of Donoghue et al.,
J. Chem. Theory Comput. 2008, 4, 1313. They are fetched, not shipped.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from q2mm_accel.datasets.archive import fetch_archive
from q2mm_accel.errors import DatasetError, MissingPackageError, VersionError
from q2mm_accel.interop.engines import Conventions, engine_terms
from q2mm_accel.interop.q2mm_model import (
    forcefield_from_q2mm,
    left_out_terms,
    molecule_from_q2mm,
    system_from_q2mm,
)
from q2mm_accel.kernel.potentials import form_named
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.perceive import type_means
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.model.system import System
from q2mm_accel.model.topology import neighbours
from q2mm_accel.units import HESSIAN_AU_TO_KJMOLA2, MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2

READER_VERSION = "5.0.0a2"
"""The q2mm whose readers are used; later ones give other units."""

_FOLDER = Path("examples") / "rh-enamide"
_PARAMETERS = _FOLDER / "mm3.fld"
_STRUCTURES = _FOLDER / "rh_enamide_training_set" / "rh_enamide_training_set.mmo"
_HESSIANS = _FOLDER / "rh_enamide_training_set" / "jaguar_spe_freq_in_out"

_PRINTED = {"bond": ("bond_lengths", "length"), "angle": ("angle_values", "value")}
"""Kind -> field of `ForceField`, and q2mm's name of the value that MacroModel printed."""


@dataclass(frozen=True, eq=False)
class RhEnamide:
    """The data set as q2mm sets it up.

    Attributes:
        systems: nine, of 36 to 62 atoms, each with its QM Hessian.
        forcefield: 182 parameters: MM3*'s substructure for the reaction centre (8 bond, 23 angle, 48 torsion types) and
            36 van der Waals types. Bonds and angles start from Seminario's estimate, torsions from 0.
        left_out: kind of term -> how many have no parameter, over all structures. Nothing but van der Waals forces acts
            there, so the computed spectra have many modes near 0.
        borrowed: kind of term -> how many lie outside the reaction centre but have the elements of a type in it, and
            therefore take that type's parameters: q2mm's rule. The first guess does not average over them.
    """

    systems: list[System]
    forcefield: ForceField
    left_out: dict[str, int]
    borrowed: dict[str, int]


def load_rh_enamide(form: str = "mm3") -> RhEnamide:
    """The Rh-enamide structures, fetched at the first call, with the terms and the first guess that q2mm gives them.

    Args:
        form: "mm3", for which the force field was made, or "harmonic".

    Returns:
        Systems, force field, and counts of the terms that are left out or borrow parameters.

    Raises:
        FormError: unknown functional form.
        MissingPackageError: q2mm, whose readers are used, is not installed.
        VersionError: another version of q2mm is installed.
        DatasetError: the data could not be fetched, or are incomplete.

    Source: q2mm's diagnostics/systems.py, models/seminario.py and models/molecule.py (torsions), commit 0c795729.
    """
    form_named(form)
    molecules, theirs, engine = _read()
    left_out: Counter[str] = Counter()
    systems = []
    for name, molecule in molecules.items():
        matched = engine_terms(engine, theirs, molecule, name).terms
        torsions, types, unmatched = _torsions(molecule, theirs.torsions)
        terms = matched | {"torsion_atoms": torsions, "torsion_types": types}
        ours = molecule_from_q2mm(molecule, name, hessian_factor=1.0 / HESSIAN_AU_TO_KJMOLA2, check=True)
        systems.append(system_from_q2mm(ours, terms))
        left_out.update({kind: len(atoms) for kind, atoms in left_out_terms(molecule, matched).items()})
        left_out["torsion"] += unmatched
    start = forcefield_from_q2mm(theirs, form, Conventions(MDYNA_TO_KCALMOLA2, MDYNA_RAD2_TO_KCALMOLRAD2, -1.0))
    start, borrowed = _first_guess(systems, start, list(molecules.values()), theirs)
    return RhEnamide(systems, start, dict(left_out), borrowed)


def rh_enamide_in_q2mm() -> tuple[list[Any], Any]:
    """The structures and the force field as q2mm's own objects, as its readers give them.

    Returns:
        The `Q2MMMolecule`s, their Hessians converted to hartree/bohr², and the `ForceField` of mm3.fld [mdyn, Å].

    Raises:
        MissingPackageError, VersionError, DatasetError: as `load_rh_enamide`.
    """
    molecules, forcefield, _ = _read()
    return [m.with_hessian(m.hessian / HESSIAN_AU_TO_KJMOLA2) for m in molecules.values()], forcefield


def _read() -> tuple[dict[str, Any], Any, Any]:
    """Readable name -> q2mm molecule with its Hessian in kJ/mol/Å², q2mm's force field, and an engine."""
    q2mm = _import_q2mm()
    folder = fetch_archive()
    forcefield = q2mm.ForceField.from_mm3_fld(str(_existing(folder, _PARAMETERS)))
    return _read_molecules(q2mm, folder), forcefield, q2mm.JaxEngine()


def _import_q2mm() -> SimpleNamespace:
    remedy = "python -m pip install 'q2mm_accel[q2mm]'"
    try:
        installed = version("q2mm")
    except PackageNotFoundError as error:
        raise MissingPackageError(f"the Rh-enamide data are read with q2mm, which is not installed: {remedy}") from error
    if installed != READER_VERSION:
        raise VersionError(f"Rh-enamide is read with q2mm {READER_VERSION}, but {installed} is installed: {remedy}")
    from q2mm.backends.mm.jax_engine import JaxEngine
    from q2mm.models.forcefield import ForceField as Q2MMForceField
    from q2mm.models.molecule import Q2MMMolecule
    from q2mm.parsers import JaguarIn, MacroModel

    return SimpleNamespace(
        JaxEngine=JaxEngine,
        ForceField=Q2MMForceField,
        Molecule=Q2MMMolecule,
        JaguarIn=JaguarIn,
        MacroModel=MacroModel,
    )


def _existing(folder: Path, part: Path) -> Path:
    if not (folder / part).exists():
        raise DatasetError(f"{folder / part} is missing. Delete {folder} to have the data fetched again.")
    return folder / part


def _read_molecules(q2mm: SimpleNamespace, folder: Path) -> dict[str, Any]:
    """Readable name -> q2mm molecule. The files of the Hessians [kJ/mol/Å²] are numbered as the structures."""
    structures = q2mm.MacroModel(str(_existing(folder, _STRUCTURES))).structures
    files = sorted(_existing(folder, _HESSIANS).glob("*.in"), key=lambda path: int(re.split(r"\D", path.name)[0]))
    if len(structures) != len(files):
        raise DatasetError(
            f"{folder} has {len(structures)} structures, but {len(files)} Hessians. Delete it to have the data fetched "
            "again."
        )
    return {
        _readable(file.stem): q2mm.Molecule.from_structure(
            structure, hessian=q2mm.JaguarIn(str(file)).get_hessian(len(structure.atoms))
        )
        for structure, file in zip(structures, files, strict=True)
    }


def _readable(stem: str) -> str:
    """A name such as "6 (R,R)-Me-BPE pro-R conformation 1" from "6RR-Me-BPEpro-RConformation1fromJCTCSI_isomer5.01"."""
    name = re.sub(r"^(\d+)", r"\1 ", stem.partition("fromJCTCSI")[0])
    return re.sub(r"Conformation(\d)", r" conformation \1", name.replace("RR-", "(R,R)-").replace("pro-", " pro-"))


def _torsions(molecule: Any, types: Sequence[Any]) -> tuple[list[tuple[int, ...]], list[int], int]:
    """Torsions as q2mm's later versions find them: atoms and types of every Fourier component, and how many have none.

    A torsion takes all components of its elements whose atom types agree too, or else all of its elements.
    """
    by_elements: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = {}
    for number, torsion in enumerate(types):
        by_elements.setdefault(_either_way(torsion.elements), []).append((number, _either_way(torsion.env_id.split("-"))))
    bonds = [(bond.atom_i, bond.atom_j) for bond in molecule.bonds]
    near = neighbours(len(molecule.symbols), bonds)
    atoms, numbers, unmatched = [], [], 0
    for second, third in bonds:
        for first in near[second]:
            for fourth in near[third]:
                row = (first, second, third, fourth)
                if len(set(row)) < 4:
                    continue
                candidates = by_elements.get(_either_way([molecule.symbols[atom] for atom in row]), [])
                environment = _either_way([molecule.atom_types[atom] for atom in row])
                matches = [n for n, own in candidates if own == environment] or [n for n, _ in candidates]
                atoms += [row] * len(matches)
                numbers += matches
                unmatched += not matches
    return atoms, numbers, unmatched


def _either_way(words: Sequence[str]) -> tuple[str, ...]:
    return min(tuple(words), tuple(words)[::-1])


def _first_guess(
    systems: Sequence[System], forcefield: ForceField, molecules: Sequence[Any], theirs: Any
) -> tuple[ForceField, dict[str, int]]:
    """Seminario's estimate from the terms that MacroModel assigned to the very rows of the substructure.

    Equilibrium values are means of the printed lengths and angles, as in q2mm; torsions start from 0.
    """
    own_systems, borrowed = list(systems), {}
    changes: dict[str, np.ndarray] = {"torsion_force_constants": np.zeros(forcefield.n_types("torsion"))}
    for kind, (field, printed) in _PRINTED.items():
        rows = np.array([parameter.ff_row for parameter in getattr(theirs, f"{kind}s")])
        types, values = [], []
        for number, molecule in enumerate(molecules):
            atoms, all_types = systems[number].terms(kind)
            by_atoms = {_atoms(item): item for item in getattr(molecule, f"{kind}s")}
            items = [by_atoms[tuple(row)] for row in atoms.tolist()]
            own = rows[all_types] == [item.ff_row for item in items]
            selection = {f"{kind}_atoms": atoms[own], f"{kind}_types": all_types[own]}
            own_systems[number] = replace(own_systems[number], **selection)
            types.append(all_types[own])
            values.append(np.array([getattr(item, printed) for item in items])[own])
        changes[field] = type_means(types, values, getattr(forcefield, field))
        borrowed[kind] = sum(len(system.terms(kind)[1]) for system in systems) - sum(map(len, types))
    return replace(estimate_force_constants(own_systems, forcefield), **changes), borrowed


def _atoms(item: Any) -> tuple[int, ...]:
    return tuple(int(getattr(item, name)) for name in ("atom_i", "atom_j", "atom_k") if hasattr(item, name))

"""Results of PySCF, ASE and Psi4 that are still in memory, as plain data."""

from pathlib import Path
from typing import Any

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV

_EV_PER_ANGSTROM = HARTREE_TO_EV / BOHR_TO_ANGSTROM
_EV_PER_ANGSTROM2 = HARTREE_TO_EV / BOHR_TO_ANGSTROM**2


def pyscf_record(calculation: Any, hessian: Any = None, gradient: bool = True) -> QMRecord:
    """What PySCF computed.

    Args:
        calculation: a converged mean-field object or anything else with `mol` and `e_tot`; or its Hessian object.
        hessian: shape (N, N, 3, 3) or (3N, 3N) [hartree/bohr²]; by default that of the Hessian object, which is computed if
            it has not been.
        gradient: whether to compute the gradient.

    Raises:
        QMFileError: not such an object, not converged, or with ghost atoms.
    """
    base = getattr(calculation, "base", calculation)
    molecule = getattr(base, "mol", None)
    where = Path(f"PySCF's {type(base).__name__}")
    if molecule is None or not hasattr(molecule, "atom_coords") or getattr(base, "e_tot", None) is None:
        raise QMFileError(f"{where}: calculation must be a mean-field object that has been run, or its Hessian object.")
    if not getattr(base, "converged", True):
        raise QMFileError(f"{where}: it has not converged; its Hessian means nothing.")
    atoms = range(molecule.natm)
    ghosts = [atom for atom in atoms if molecule.atom_charge(atom) == 0]
    if ghosts:
        raise QMFileError(f"{where}: atom {ghosts[0]} ({molecule.atom_symbol(ghosts[0])}) is a ghost. Leave it out.")
    if hessian is None:
        hessian = getattr(calculation, "de", None) if calculation is not base else None
    if hessian is None:
        hessian = (base.Hessian() if calculation is base else calculation).kernel()
    slopes = np.array(base.nuc_grad_method().kernel()) if gradient else None
    return QMRecord(
        path=where,
        format="pyscf",
        symbols=tuple(molecule.atom_pure_symbol(atom) for atom in atoms),
        coordinates=np.array(molecule.atom_coords()) * BOHR_TO_ANGSTROM,
        hessian=_square(hessian, molecule.natm, where),
        gradient=slopes,
        energy=float(base.e_tot),
        charge=int(molecule.charge),
        multiplicity=int(molecule.spin) + 1,
    )


def ase_record(atoms: Any, hessian: Any = None) -> QMRecord:
    """What ASE knows of a molecule; nothing is computed.

    Args:
        atoms: an `Atoms` object; energy and forces are taken from its calculator where they are there already.
        hessian: shape (3N, 3N) or (N, 3, N, 3) [eV/Å²], or a `VibrationsData` or `Vibrations` of all its atoms.

    Raises:
        QMFileError: not such an object, periodic, or vibrations of another geometry or of a part of the atoms.
    """
    where = Path("ASE's Atoms")
    if not hasattr(atoms, "get_chemical_symbols"):
        raise QMFileError(f"{where}: atoms is a {type(atoms).__name__}; give an Atoms object.")
    if np.any(atoms.pbc):
        raise QMFileError(f"{where}: it is periodic (pbc is {list(map(bool, atoms.pbc))}); give a molecule.")
    symbols, coordinates = tuple(atoms.get_chemical_symbols()), np.array(atoms.get_positions(), dtype=np.float64)
    results = getattr(getattr(atoms, "calc", None), "results", {})
    forces = results.get("forces")
    return QMRecord(
        path=where,
        format="ase",
        symbols=symbols,
        coordinates=coordinates,
        hessian=None if hessian is None else _ase_hessian(hessian, coordinates, where) / _EV_PER_ANGSTROM2,
        gradient=None if forces is None else -np.array(forces, dtype=np.float64) / _EV_PER_ANGSTROM,
        energy=None if results.get("energy") is None else float(results["energy"]) / HARTREE_TO_EV,
        masses=np.array(atoms.get_masses(), dtype=np.float64) if atoms.has("masses") else None,
    )


def _ase_hessian(hessian: Any, coordinates: np.ndarray, where: Path) -> np.ndarray:
    if hasattr(hessian, "get_vibrations"):
        hessian = hessian.get_vibrations()
    if not hasattr(hessian, "get_hessian_2d"):
        return _square(hessian, len(coordinates), where)
    own = np.array(hessian.get_atoms().get_positions())
    if own.shape != coordinates.shape or np.max(np.abs(own - coordinates)) > 1e-6:
        raise QMFileError(f"{where}: the vibrations are of another geometry than the atoms.")
    return _square(hessian.get_hessian_2d(), len(coordinates), where)


def psi4_record(wavefunction: Any) -> QMRecord:
    """What Psi4 computed: the wavefunction of `hessian(..., return_wfn=True)` or `frequency(..., return_wfn=True)`.

    Raises:
        QMFileError: not such an object, without a Hessian, or with ghost atoms.
    """
    where = Path(f"Psi4's {type(wavefunction).__name__}")
    if not hasattr(wavefunction, "molecule") or not hasattr(wavefunction, "hessian"):
        raise QMFileError(f"{where}: give the wavefunction that psi4.hessian(..., return_wfn=True) returns.")
    molecule, hessian, gradient = wavefunction.molecule(), wavefunction.hessian(), wavefunction.gradient()
    if hessian is None:
        raise QMFileError(f"{where}: it has no Hessian; run psi4.hessian(..., return_wfn=True).")
    atoms = range(molecule.natom())
    ghosts = [atom for atom in atoms if molecule.Z(atom) == 0]
    if ghosts:
        raise QMFileError(f"{where}: atom {ghosts[0]} is a ghost. Leave it out.")
    return QMRecord(
        path=where,
        format="psi4",
        symbols=tuple(molecule.symbol(atom) for atom in atoms),
        coordinates=np.array(molecule.geometry().to_array()) * BOHR_TO_ANGSTROM,
        hessian=_square(hessian.to_array(), len(atoms), where),
        gradient=None if gradient is None else np.array(gradient.to_array()),
        energy=float(wavefunction.energy()),
        charge=int(molecule.molecular_charge()),
        multiplicity=int(molecule.multiplicity()),
        masses=np.array([molecule.mass(atom) for atom in atoms]),
    )


def _square(hessian: Any, n_atoms: int, where: Path) -> np.ndarray:
    """(3N, 3N) of a matrix, (N, 3, N, 3), or (N, N, 3, 3), which is PySCF's for three atoms, too."""
    array, size = np.asarray(hessian), 3 * n_atoms
    if array.dtype.kind not in "fiu":
        raise QMFileError(f"{where}: hessian must be real numbers, but has the dtype {array.dtype}.")
    if array.shape == (n_atoms, n_atoms, 3, 3) and (n_atoms != 3 or where.name.startswith("PySCF")):
        return array.swapaxes(1, 2).reshape(size, size)
    if array.shape not in ((size, size), (n_atoms, 3, n_atoms, 3)):
        raise QMFileError(f"{where}: hessian has the shape {array.shape}, but {n_atoms} atoms make it ({size}, {size}).")
    return array.reshape(size, size)

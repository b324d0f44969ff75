"""Results of PySCF, ASE and Psi4 that are still in memory, played by stand-ins."""

import numpy as np
import pytest
from qm_files import WATER
from qm_objects import BLOCKS, EV_PER_ANGSTROM2, Atoms, MeanField, Mole, Vibrations, Wavefunction
from tolerances import READ_COORDINATES, READ_ENERGY, READ_HESSIAN

from q2mm_accel import Molecule
from q2mm_accel.errors import HessianError, MoleculeError, Q2MMAccelError, QMFileError


def assert_is_water(molecule):
    assert molecule.symbols == WATER.symbols
    np.testing.assert_allclose(molecule.coordinates, WATER.coordinates, rtol=0, atol=READ_COORDINATES)
    np.testing.assert_allclose(molecule.hessian, WATER.hessian, rtol=0, atol=READ_HESSIAN)
    np.testing.assert_allclose(molecule.gradient, WATER.gradient, rtol=0, atol=READ_HESSIAN)
    assert abs(molecule.energy - WATER.energy) <= READ_ENERGY


def test_pyscf_computes_what_it_has_not_and_nothing_twice():
    field = MeanField()
    molecule = Molecule.from_pyscf(field, name="water")
    assert_is_water(molecule)
    assert (molecule.charge, molecule.multiplicity, molecule.name, field.runs) == (1, 3, "water", 1)
    done = field.Hessian()
    done.kernel()
    assert_is_water(Molecule.from_pyscf(done))
    assert field.runs == 2
    assert_is_water(Molecule.from_pyscf(field, hessian=BLOCKS))
    assert_is_water(Molecule.from_pyscf(field, hessian=WATER.hessian))
    assert field.runs == 2
    assert Molecule.from_pyscf(field, hessian=BLOCKS, gradient=False).gradient is None


def test_ase_gives_what_it_has():
    matrix = WATER.hessian * EV_PER_ANGSTROM2
    for hessian in (matrix, matrix.reshape(3, 3, 3, 3), Vibrations(Atoms()), Vibrations(Atoms()).get_vibrations()):
        molecule = Molecule.from_ase(Atoms(), hessian=hessian, charge=-1, multiplicity=2)
        assert_is_water(molecule)
        assert (molecule.charge, molecule.multiplicity, molecule.masses.tolist()) == (-1, 2, [18.0, 2.0, 2.0])
    assert Molecule.from_ase(Atoms(forces=False)).gradient is None


def test_psi4_gives_what_it_has():
    assert_is_water(Molecule.from_psi4(Wavefunction()))


REFUSED = {
    "a molecule of PySCF's": (lambda: Molecule.from_pyscf(Mole()), QMFileError, "calculation must be a mean-field object"),
    "a number for PySCF": (lambda: Molecule.from_pyscf(3), QMFileError, "calculation must be a mean-field object"),
    "PySCF not converged": (lambda: Molecule.from_pyscf(MeanField(converged=False)), QMFileError, "has not converged"),
    "a ghost of PySCF": (lambda: Molecule.from_pyscf(MeanField(ghost=True)), QMFileError, "atom 2 (H2) is a ghost"),
    "a Hessian of another shape": (
        lambda: Molecule.from_pyscf(MeanField(), hessian=np.ones((2, 2, 3, 3))),
        QMFileError,
        "(2, 2, 3, 3)",
    ),
    "a Hessian of text": (lambda: Molecule.from_pyscf(MeanField(), hessian="h"), QMFileError, "must be real numbers"),
    "a periodic system": (lambda: Molecule.from_ase(Atoms(periodic=True)), QMFileError, "it is periodic"),
    "no atoms of ASE": (lambda: Molecule.from_ase("water"), QMFileError, "give an Atoms object"),
    "a dummy atom of ASE": (lambda: Molecule.from_ase(Atoms("OHX")), MoleculeError, "unknown element 'X'"),
    "a Hessian that is not in eV": (lambda: Molecule.from_ase(Atoms(), hessian=WATER.hessian), MoleculeError, "cm⁻¹"),
    "vibrations of other atoms": (lambda: Molecule.from_ase(Atoms(), hessian=moved()), QMFileError, "another geometry"),
    "vibrations of some atoms": (
        lambda: Molecule.from_ase(Atoms(), hessian=Vibrations(Atoms(), WATER.hessian[:6, :6])),
        QMFileError,
        "(6, 6)",
    ),
    "Psi4 without a Hessian": (lambda: Molecule.from_psi4(Wavefunction(hessian=None)), QMFileError, "it has no Hessian"),
    "a ghost of Psi4": (lambda: Molecule.from_psi4(Wavefunction(ghost=True)), QMFileError, "atom 2 is a ghost"),
    "no wavefunction": (lambda: Molecule.from_psi4(Atoms()), QMFileError, "give the wavefunction that"),
    "a Hessian of zeros": (lambda: Molecule.from_psi4(Wavefunction(np.zeros((9, 9)))), HessianError, "zero"),
}


def moved():
    atoms = Atoms()
    atoms.moved = 0.1
    return Vibrations(atoms)


@pytest.mark.parametrize(("call", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_objects_that_cannot_be_used_are_refused(call, error, words):
    with pytest.raises(Q2MMAccelError) as caught:
        call()
    assert isinstance(caught.value, error) and words in str(caught.value), caught.value

"""Objects of PySCF, ASE and Psi4, played by stand-ins with the same methods, units and shapes."""

from types import SimpleNamespace

import numpy as np
import pytest
from qm_files import NUMBERS, WATER
from tolerances import READ_COORDINATES, READ_ENERGY, READ_HESSIAN

from q2mm_accel import Molecule
from q2mm_accel.errors import HessianError, MoleculeError, Q2MMAccelError, QMFileError
from q2mm_accel.units import BOHR_TO_ANGSTROM, HARTREE_TO_EV

BLOCKS = WATER.hessian.reshape(3, 3, 3, 3).swapaxes(1, 2)
"""(N, N, 3, 3) [hartree/bohr²], as PySCF has it; for three atoms (N, 3, N, 3) has the same shape."""
EV_PER_ANGSTROM2 = HARTREE_TO_EV / BOHR_TO_ANGSTROM**2


class Mole:
    """PySCF's molecule: bohr, charges and symbols atom by atom."""

    natm, charge, spin = 3, 1, 2

    def __init__(self, ghost=False):
        self.ghost = ghost

    def atom_coords(self):
        return WATER.coordinates / BOHR_TO_ANGSTROM

    def atom_charge(self, atom):
        return 0 if self.ghost and atom == 2 else NUMBERS[WATER.symbols[atom]]

    def atom_symbol(self, atom):
        return f"{WATER.symbols[atom]}{atom}"

    def atom_pure_symbol(self, atom):
        return WATER.symbols[atom]


class MeanField:
    """PySCF's mean-field object, which computes Hessian and gradient when asked."""

    def __init__(self, converged=True, ghost=False):
        self.mol, self.e_tot, self.converged, self.runs = Mole(ghost), WATER.energy, converged, 0

    def Hessian(self):  # noqa: N802 - PySCF's name
        return HessianObject(self)

    def nuc_grad_method(self):
        return SimpleNamespace(kernel=lambda: WATER.gradient)


class HessianObject:
    """PySCF's Hessian object."""

    def __init__(self, base):
        self.base, self.de = base, None

    def kernel(self):
        self.base.runs += 1
        self.de = BLOCKS
        return self.de


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


class Atoms:
    """ASE's atoms: Å and eV."""

    def __init__(self, symbols=WATER.symbols, periodic=False, forces=True):
        self.symbols, self.pbc = list(symbols), np.array([periodic] * 3)
        results = {"energy": WATER.energy * HARTREE_TO_EV}
        results |= {"forces": -WATER.gradient * HARTREE_TO_EV / BOHR_TO_ANGSTROM} if forces else {}
        self.calc, self.moved = SimpleNamespace(results=results), 0.0

    def get_chemical_symbols(self):
        return self.symbols

    def get_positions(self):
        return WATER.coordinates + self.moved

    def has(self, name):
        return name == "masses"

    def get_masses(self):
        return np.array([18.0, 2.0, 2.0])


class Vibrations:
    """ASE's vibrations, which hand out their data."""

    def __init__(self, atoms, hessian=WATER.hessian):
        self.atoms, self.hessian = atoms, hessian

    def get_vibrations(self):
        return SimpleNamespace(
            get_hessian_2d=lambda: self.hessian * EV_PER_ANGSTROM2,
            get_atoms=lambda: self.atoms,
        )


def test_ase_gives_what_it_has():
    matrix = WATER.hessian * EV_PER_ANGSTROM2
    for hessian in (matrix, matrix.reshape(3, 3, 3, 3), Vibrations(Atoms()), Vibrations(Atoms()).get_vibrations()):
        molecule = Molecule.from_ase(Atoms(), hessian=hessian, charge=-1, multiplicity=2)
        assert_is_water(molecule)
        assert (molecule.charge, molecule.multiplicity, molecule.masses.tolist()) == (-1, 2, [18.0, 2.0, 2.0])
    assert Molecule.from_ase(Atoms(forces=False)).gradient is None


class Wavefunction:
    """Psi4's wavefunction and its molecule."""

    def __init__(self, hessian=WATER.hessian, ghost=False):
        self.matrix, self.ghost = hessian, ghost

    def molecule(self):
        return self

    def geometry(self):
        return SimpleNamespace(to_array=lambda: WATER.coordinates / BOHR_TO_ANGSTROM)

    def hessian(self):
        return None if self.matrix is None else SimpleNamespace(to_array=lambda: self.matrix)

    def gradient(self):
        return SimpleNamespace(to_array=lambda: WATER.gradient)

    def natom(self):
        return 3

    def energy(self):
        return WATER.energy

    def symbol(self, atom):
        return WATER.symbols[atom].upper()

    def mass(self, atom):
        return WATER.masses[atom]

    def Z(self, atom):  # noqa: N802 - Psi4's name
        return 0.0 if self.ghost and atom == 2 else float(NUMBERS[WATER.symbols[atom]])

    def molecular_charge(self):
        return 0

    def multiplicity(self):
        return 1


def test_psi4_gives_what_it_has():
    assert_is_water(Molecule.from_psi4(Wavefunction()))


REFUSED = {
    "a molecule of PySCF's": (lambda: Molecule.from_pyscf(Mole()), QMFileError, "mean-field object that has been run"),
    "a number for PySCF": (lambda: Molecule.from_pyscf(3), QMFileError, "mean-field object that has been run"),
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
    "no wavefunction": (lambda: Molecule.from_psi4(Atoms()), QMFileError, "give the wavefunction"),
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

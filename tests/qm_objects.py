"""Stand-ins for objects of PySCF, ASE and Psi4, with the same methods, units and shapes."""

from types import SimpleNamespace

import numpy as np
from qm_files import NUMBERS, WATER

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

"""Compute the small quantum-mechanical data sets that q2mm_accel ships.

Each molecule is optimised, then its analytic Hessian is computed: with B3LYP/6-31+G(d), the two largest with smaller basis
sets and fitted densities. The result is one `NAME.npz` for `q2mm_accel.datasets.load_molecule`. Reading the data needs
neither PySCF nor geomeTRIC; computing them does:

    pip install pyscf geometric
    python examples/generate_data.py                          # all of them: about two hours on two cores
    python examples/generate_data.py water hcn --output /tmp  # two of them, elsewhere

The d functions are Cartesian (six per shell), as in Gaussian and Psi4 with this basis set; PySCF's default differs.
The shipped files were made with PySCF 2.14.0 and geomeTRIC 1.1.1.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyscf
from pyscf import dft, gto
from pyscf.data.elements import COMMON_ISOTOPE_MASSES
from pyscf.geomopt import geometric_solver
from pyscf.hessian import thermo

BOHR_TO_ANGSTROM = 0.529177210903
DATA_FOLDER = Path(__file__).resolve().parent.parent / "q2mm_accel" / "datasets" / "data"
CONVERGENCE = {
    "convergence_energy": 1e-9,  # hartree
    "convergence_grms": 5e-7,  # hartree/bohr
    "convergence_gmax": 1e-6,  # hartree/bohr
    "convergence_drms": 2e-6,  # Å
    "convergence_dmax": 4e-6,  # Å
}
LOOSE_CONVERGENCE = {name: 100.0 * value for name, value in CONVERGENCE.items()}
# The saddle point needs its exact Hessian to step uphill, and Cartesian steps to keep the symmetry of the start.
SADDLE_SEARCH = {"transition": True, "hessian": True, "coordsys": "cart"}
LARGEST_GRADIENT_NORM = 1e-5  # hartree/bohr
SOFTEST_MODE = 3e-5  # as a part of the stiffest; eigenvalues below are those of translations and rotations
MOST_STEPS = 40
COARSE_GRID = 1
LARGEST_STEP = 0.3  # bohr, of a coordinate
LARGEST_DISTANCE_TO_AXIS = 1e-6  # bohr, of an atom of a linear molecule


@dataclass(frozen=True)
class Level:
    """A level of theory, and how its data file names it."""

    functional: str
    basis: str
    cartesian: bool
    fitted: bool
    """Densities fitted to an auxiliary basis set: several times as fast, energies, gradients and Hessians alike."""
    grid: int
    """PySCF's level of the integration grid."""
    method: str
    basis_name: str


B3LYP = Level("b3lyp", "6-31+g*", True, False, 5, "B3LYP", "6-31+G(d), Cartesian d functions")
B3LYP_FITTED = Level("b3lyp", "6-31g*", True, True, 4, "B3LYP, density fitting", "6-31G(d), Cartesian d functions")
PBE_FITTED = Level("pbe", "def2-svp", False, True, 4, "PBE, density fitting", "def2-SVP")


@dataclass(frozen=True)
class Start:
    """Where an optimisation starts; the point group of the start is kept."""

    atoms: str
    """Symbols and coordinates [Å]. A molecule is linear when all its atoms are on the z axis."""
    charge: int = 0
    multiplicity: int = 1
    transition_state: bool = False
    level: Level = B3LYP
    coarse_first: bool = False
    """Whether a coarse grid, optimised first, gives most of the way and the Hessian for the rest of it."""


MOLECULES = {
    "ch3f": Start("""
        C  0.000  0.000 -0.640
        F  0.000  0.000  0.760
        H  1.035  0.000 -0.985
        H -0.5175  0.89634 -0.985
        H -0.5175 -0.89634 -0.985"""),
    "water": Start("""
        O  0.000  0.000  0.117
        H  0.000  0.765 -0.470
        H  0.000 -0.765 -0.470"""),
    "methanol": Start("""
        C -0.047  0.665  0.000
        O -0.047 -0.758  0.000
        H -1.093  0.970  0.000
        H  0.439  1.073  0.892
        H  0.439  1.073 -0.892
        H  0.865 -1.057  0.000"""),
    "ethane": Start("""
        C  0.000  0.000  0.766
        C  0.000  0.000 -0.766
        H  1.020  0.000  1.164
        H -0.510  0.88335  1.164
        H -0.510 -0.88335  1.164
        H -1.020  0.000 -1.164
        H  0.510  0.88335 -1.164
        H  0.510 -0.88335 -1.164"""),
    "formaldehyde": Start("""
        C  0.000  0.000 -0.530
        O  0.000  0.000  0.677
        H  0.000  0.938 -1.120
        H  0.000 -0.938 -1.120"""),
    "hcn": Start("""
        H  0.000  0.000 -1.570
        C  0.000  0.000 -0.500
        N  0.000  0.000  0.657"""),
    "h2o2": Start("""
        O  0.000  0.728 -0.058
        O  0.000 -0.728 -0.058
        H  0.800  0.900  0.460
        H -0.800 -0.900  0.460"""),
    "c2h2": Start("""
        H  0.000  0.000 -1.670
        C  0.000  0.000 -0.603
        C  0.000  0.000  0.603
        H  0.000  0.000  1.670"""),
    "sn2_ts": Start(
        """
        C  0.000  0.000  0.000
        F  0.000  0.000  1.830
        F  0.000  0.000 -1.830
        H  1.076  0.000  0.000
        H -0.538  0.93184  0.000
        H -0.538 -0.93184  0.000""",
        charge=-1,
        transition_state=True,
    ),
    "acrylamide": Start("""
        C  -1.812 -0.043  0.000
        C  -0.574  0.427  0.000
        C   0.592 -0.494  0.000
        O   0.498 -1.703  0.000
        N   1.796  0.133  0.000
        H  -1.978 -1.108  0.000
        H  -2.678  0.596  0.000
        H  -0.363  1.487  0.000
        H   2.632 -0.427  0.000
        H   1.886  1.133  0.000"""),
    # C7eq, phi -82 and psi 74 degrees before the optimisation; atoms in the order of OpenMM's residues ACE, ALA, NME.
    "alanine_dipeptide": Start(
        """
        H   2.961  1.238  1.796
        C   2.563  1.556  0.835
        H   1.970  2.456  0.983
        H   3.385  1.775  0.160
        C   1.706  0.463  0.239
        O   1.937 -0.062 -0.837
        N   0.658  0.103  1.005
        H   0.442  0.621  1.842
        C  -0.274 -0.950  0.630
        H   0.308 -1.722  0.112
        C  -0.949 -1.515  1.869
        H  -1.600 -0.763  2.308
        H  -0.208 -1.832  2.599
        H  -1.562 -2.368  1.593
        C  -1.319 -0.382 -0.357
        O  -2.464 -0.138 -0.034
        N  -0.812 -0.186 -1.584
        H   0.183 -0.327 -1.726
        C  -1.579  0.398 -2.657
        H  -2.602  0.523 -2.306
        H  -1.172  1.371 -2.941
        H  -1.571 -0.258 -3.528""",
        level=B3LYP_FITTED,
        coarse_first=True,
    ),
    # cis-HMn(CO)4(PH3); the H-Mn-P-H torsion keeps the rotor from being free, as it is in Cr(CO)5(PH3).
    "mnh_co4_ph3": Start(
        """
        Mn  0.166  0.000  0.446
        H   1.656  0.000  0.391
        C  -1.609  0.000  0.498
        O  -2.749  0.000  0.556
        C   0.228  1.796  0.454
        O   0.237  2.937  0.471
        C   0.228 -1.796  0.454
        O   0.237 -2.937  0.471
        C   0.250  0.000  2.236
        O   0.254  0.000  3.380
        P   0.248  0.000 -1.794
        H  -0.889  0.000 -2.587
        H   0.872 -1.019 -2.487
        H   0.872  1.019 -2.487""",
        level=PBE_FITTED,
        coarse_first=True,
    ),
}


def mean_field(molecule: gto.Mole, level: Level) -> dft.rks.KohnShamDFT:
    """The functional with a tight self-consistent field and a fine integration grid."""
    method = dft.KS(molecule, xc=level.functional)
    method = method.density_fit() if level.fitted else method
    method.conv_tol = 1e-11
    method.grids.level = level.grid
    return method


def optimize(start: Start) -> gto.Mole:
    """The stationary point next to the start: a minimum, or a first-order saddle point for a transition state."""
    spin = start.multiplicity - 1
    basis, cartesian = start.level.basis, start.level.cartesian
    molecule = gto.M(atom=start.atoms, basis=basis, cart=cartesian, charge=start.charge, spin=spin, verbose=0)
    if start.coarse_first:
        return optimize_by_coarse_grid(molecule, start.level)
    search = SADDLE_SEARCH if start.transition_state else {}
    optimized = geometric_solver.optimize(mean_field(molecule, start.level), **search, **CONVERGENCE)
    is_linear = not molecule.atom_coords()[:, :2].any()
    return put_on_axis(optimized) if is_linear else optimized


def optimize_by_coarse_grid(molecule: gto.Mole, level: Level) -> gto.Mole:
    """The minimum, by quasi-Newton steps (BFGS) from the minimum on a coarse grid and with its Hessian."""
    coarse = replace(level, grid=COARSE_GRID)
    molecule = geometric_solver.optimize(mean_field(molecule, coarse), **LOOSE_CONVERGENCE)
    inverse = np.linalg.pinv(hessian_matrix(mean_field(molecule, coarse).run()), rcond=SOFTEST_MODE, hermitian=True)
    scanner = mean_field(molecule, level).nuc_grad_method().as_scanner()
    position, step, old = molecule.atom_coords(), None, None
    for _ in range(MOST_STEPS):
        _, gradient = scanner(molecule.set_geom_(position, unit="Bohr", inplace=False))
        if np.linalg.norm(gradient) < LARGEST_GRADIENT_NORM / 2:
            return molecule.set_geom_(position, unit="Bohr", inplace=False)
        if step is not None:
            inverse = bfgs(inverse, step.ravel(), (gradient - old).ravel())
        step = -(inverse @ gradient.ravel()).reshape(-1, 3)
        step *= min(1.0, LARGEST_STEP / abs(step).max())
        position, old = position + step, gradient
    raise RuntimeError(f"no minimum in {MOST_STEPS} steps: the gradient is {np.linalg.norm(old):.1e} hartree/bohr")


def bfgs(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse Hessian that maps the change of the gradient to the step (Nocedal and Wright, equation 6.17)."""
    scale = 1.0 / (change @ step)
    left = np.eye(len(step)) - scale * np.outer(step, change)
    return left @ inverse @ left.T + scale * np.outer(step, step)


def hessian_matrix(method: dft.rks.KohnShamDFT) -> np.ndarray:
    """The analytic Hessian, symmetrized, shape (3n, 3n) [hartree/bohr^2]."""
    matrix = method.Hessian().kernel().transpose(0, 2, 1, 3).reshape(3 * method.mol.natm, -1)  # was (n, n, 3, 3)
    return (matrix + matrix.T) / 2


def put_on_axis(molecule: gto.Mole) -> gto.Mole:
    """The linear molecule with every atom exactly on the z axis."""
    coordinates = molecule.atom_coords()
    distance = abs(coordinates[:, :2]).max()
    if distance > LARGEST_DISTANCE_TO_AXIS:
        raise RuntimeError(f"a linear molecule has bent: an atom is {distance:.1e} bohr off the z axis")
    coordinates[:, :2] = 0.0
    return molecule.set_geom_(coordinates, unit="Bohr", inplace=False)


def compute(start: Start) -> dict[str, object]:
    """The fields of one data file: energy [hartree], Hessian [hartree/bohr^2], frequencies [cm^-1] at the optimum."""
    molecule = optimize(start)
    method = mean_field(molecule, start.level)
    energy = method.kernel()
    gradient_norm = np.linalg.norm(method.nuc_grad_method().kernel())
    if not method.converged or gradient_norm > LARGEST_GRADIENT_NORM:
        raise RuntimeError(f"not a stationary point: the norm of the gradient is {gradient_norm:.1e} hartree/bohr")

    hessian = hessian_matrix(method)
    masses = np.array([COMMON_ISOTOPE_MASSES[number] for number in molecule.atom_charges()])  # not PySCF's mass numbers
    blocks = hessian.reshape(molecule.natm, 3, molecule.natm, 3).transpose(0, 2, 1, 3)
    modes = thermo.harmonic_analysis(molecule, blocks, imaginary_freq=False, mass=masses)
    frequencies = modes["freq_wavenumber"]
    n_imaginary = np.count_nonzero(frequencies < 0.0)
    if n_imaginary != int(start.transition_state):
        raise RuntimeError(f"not the stationary point sought: it has {n_imaginary} imaginary modes, {frequencies}")

    print(f"energy {energy:.9f} hartree, gradient {gradient_norm:.1e} hartree/bohr")
    print(f"    frequencies {frequencies.round(1).tolist()} cm^-1")
    return {
        "symbols": np.array(molecule.elements, dtype="<U2"),
        "coordinates": molecule.atom_coords() * BOHR_TO_ANGSTROM,
        "hessian": hessian,
        "energy": np.float64(energy),
        "charge": start.charge,
        "multiplicity": start.multiplicity,
        "frequencies": frequencies,
        "method": start.level.method,
        "basis": start.level.basis_name,
        "program": f"PySCF {pyscf.__version__}",
        "source": Path(__file__).name,
    }


def main() -> None:
    """Compute the molecules named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description="Compute the small QM data sets of q2mm_accel with PySCF.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(MOLECULES)}; default: all")
    parser.add_argument("--output", type=Path, default=DATA_FOLDER, metavar="FOLDER", help="default: %(default)s")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(MOLECULES))
    if unknown:
        parser.error(f"unknown molecule {', '.join(unknown)}; choose from {', '.join(MOLECULES)}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or MOLECULES:
        print(f"{name}: ", end="", flush=True)
        np.savez(arguments.output / f"{name}.npz", **compute(MOLECULES[name]))


if __name__ == "__main__":
    main()

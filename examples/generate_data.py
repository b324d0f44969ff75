"""Compute the small quantum-mechanical data sets that q2mm_accel ships.

Each molecule is optimised, then its analytic Hessian is computed: with B3LYP/6-31+G(d), the largest with a smaller basis
set and fitted densities. The result is one `NAME.npz` for `q2mm_accel.datasets.load_molecule`. Reading the data needs
neither PySCF nor geomeTRIC; computing them does:

    pip install pyscf geometric
    python examples/generate_data.py                          # all of them: about an hour on two cores
    python examples/generate_data.py water hcn --output /tmp  # two of them, elsewhere

The d functions are Cartesian (six per shell), as in Gaussian and Psi4 with this basis set; PySCF's default differs.
The shipped files were made with PySCF 2.14.0 and geomeTRIC 1.1.1.
"""

import argparse
from dataclasses import dataclass
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
# Of many atoms, on a coarser grid, which alone exerts a force of 1.6e-5 hartree/bohr on the molecule as a whole.
CONVERGENCE_OF_LARGE = {
    "convergence_energy": 1e-7,
    "convergence_grms": 2e-6,
    "convergence_gmax": 6e-6,
    "convergence_drms": 2e-4,
    "convergence_dmax": 5e-4,
}
# The saddle point needs its exact Hessian to step uphill, and Cartesian steps to keep the symmetry of the start.
SADDLE_SEARCH = {"transition": True, "hessian": True, "coordsys": "cart"}
LARGEST_GRADIENT_NORM, LARGEST_GRADIENT_NORM_OF_LARGE = 1e-5, 3e-5  # hartree/bohr
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
B3LYP_FITTED = Level("b3lyp", "6-31g*", True, True, 3, "B3LYP, density fitting", "6-31G(d), Cartesian d functions")


@dataclass(frozen=True)
class Start:
    """Where an optimisation starts; the point group of the start is kept."""

    atoms: str
    """Symbols and coordinates [Å]. A molecule is linear when all its atoms are on the z axis."""
    charge: int = 0
    multiplicity: int = 1
    transition_state: bool = False
    level: Level = B3LYP


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
    # C7eq, at its minimum, which soft modes make hard to find; atoms in the order of OpenMM's residues ACE, ALA, NME.
    "alanine_dipeptide": Start(
        """
        H   3.567869 -1.540006 -0.594010
        C   3.030833 -0.592500 -0.701262
        H   3.501782  0.157118 -0.058140
        H   3.127647 -0.279845 -1.745448
        C   1.562774 -0.829340 -0.392195
        O   0.894321 -1.648111 -1.028225
        N   1.038924 -0.097968  0.628092
        H   1.599836  0.623779  1.059409
        C  -0.347416 -0.245641  1.088293
        H  -0.590903 -1.306607  0.968294
        C  -0.463230  0.166257  2.551533
        H  -0.257284  1.234507  2.671115
        H   0.229746 -0.414240  3.169176
        H  -1.481727 -0.004059  2.909828
        C  -1.313263  0.579717  0.196846
        O  -1.839012  1.614412  0.594852
        N  -1.508047  0.037210 -1.034376
        H  -0.921843 -0.756101 -1.285380
        C  -2.300516  0.696356 -2.056247
        H  -2.875691  1.489153 -1.575724
        H  -1.669078  1.141238 -2.836623
        H  -2.986719 -0.015942 -2.527000""",
        level=B3LYP_FITTED,
    ),
}


def mean_field(molecule: gto.Mole, level: Level) -> dft.rks.KohnShamDFT:
    """The functional with a tight self-consistent field."""
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
    search = SADDLE_SEARCH if start.transition_state else {}
    convergence = CONVERGENCE_OF_LARGE if start.level.fitted else CONVERGENCE
    optimized = geometric_solver.optimize(mean_field(molecule, start.level), **search, **convergence)
    is_linear = not molecule.atom_coords()[:, :2].any()
    return put_on_axis(optimized) if is_linear else optimized


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
    limit = LARGEST_GRADIENT_NORM_OF_LARGE if start.level.fitted else LARGEST_GRADIENT_NORM
    if not method.converged or gradient_norm > limit:
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

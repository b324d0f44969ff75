"""Compute the small quantum-mechanical data sets that q2mm_accel ships.

Each molecule is optimised with B3LYP/6-31+G(d), then its analytic Hessian is computed; the result is one `NAME.npz` for
`q2mm_accel.datasets.load_molecule`. Reading the data needs neither PySCF nor geomeTRIC; computing them does:

    pip install pyscf geometric
    python examples/generate_data.py                          # all of them: about ten minutes on two cores
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
# The saddle point needs its exact Hessian to step uphill, and Cartesian steps to keep the symmetry of the start.
SADDLE_SEARCH = {"transition": True, "hessian": True, "coordsys": "cart"}
LARGEST_GRADIENT_NORM = 1e-5  # hartree/bohr
LARGEST_DISTANCE_TO_AXIS = 1e-6  # bohr, of an atom of a linear molecule


@dataclass(frozen=True)
class Start:
    """Where an optimisation starts; the point group of the start is kept."""

    atoms: str
    """Symbols and coordinates [Å]. A molecule is linear when all its atoms are on the z axis."""
    charge: int = 0
    multiplicity: int = 1
    transition_state: bool = False


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
}


def mean_field(molecule: gto.Mole) -> dft.rks.KohnShamDFT:
    """B3LYP with a tight self-consistent field and a fine integration grid."""
    method = dft.KS(molecule, xc="b3lyp")
    method.conv_tol = 1e-11
    method.grids.level = 5
    return method


def optimize(start: Start) -> gto.Mole:
    """The stationary point next to the start: a minimum, or a first-order saddle point for a transition state."""
    spin = start.multiplicity - 1
    molecule = gto.M(atom=start.atoms, basis="6-31+g*", cart=True, charge=start.charge, spin=spin, verbose=0)
    search = SADDLE_SEARCH if start.transition_state else {}
    optimized = geometric_solver.optimize(mean_field(molecule), **search, **CONVERGENCE)
    is_linear = not molecule.atom_coords()[:, :2].any()
    return put_on_axis(optimized) if is_linear else optimized


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
    method = mean_field(molecule)
    energy = method.kernel()
    gradient_norm = np.linalg.norm(method.nuc_grad_method().kernel())
    if not method.converged or gradient_norm > LARGEST_GRADIENT_NORM:
        raise RuntimeError(f"not a stationary point: the norm of the gradient is {gradient_norm:.1e} hartree/bohr")

    blocks = method.Hessian().kernel()  # (n, n, 3, 3)
    blocks = (blocks + blocks.transpose(1, 0, 3, 2)) / 2
    masses = np.array([COMMON_ISOTOPE_MASSES[number] for number in molecule.atom_charges()])  # not PySCF's mass numbers
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
        "hessian": blocks.transpose(0, 2, 1, 3).reshape(3 * molecule.natm, 3 * molecule.natm),
        "energy": np.float64(energy),
        "charge": start.charge,
        "multiplicity": start.multiplicity,
        "frequencies": frequencies,
        "method": "B3LYP",
        "basis": "6-31+G(d), Cartesian d functions",
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

"""The small quantum-mechanical data sets shipped with the package; `examples/generate_data.py` makes them."""

from importlib import resources
from zipfile import BadZipFile

import numpy as np

from q2mm_accel.errors import DatasetError
from q2mm_accel.model.molecule import Molecule

SMALL = ("ch3f", "water", "methanol", "ethane", "formaldehyde", "hcn", "h2o2", "c2h2", "sn2_ts")
"""Eight small minima and `sn2_ts`, the transition state of F⁻ + CH3F."""
LARGER = ("acrylamide", "alanine_dipeptide")
"""Minima of 10 and 22 atoms; the second is ACE-ALA-NME (C7eq), its atoms in the order of OpenMM's residues."""
MOLECULES = (*SMALL, *LARGER)
"""Names of all the data sets."""
PROVENANCE = ("method", "basis", "program", "source")
FIELDS = ("symbols", "coordinates", "hessian", "energy", "charge", "multiplicity", "frequencies", *PROVENANCE)


def load_molecule(name: str) -> Molecule:
    """A molecule at its stationary point, with energy and Hessian: B3LYP/6-31+G(d), or as `provenance` says.

    Args:
        name: one of `MOLECULES`.

    Returns:
        Coordinates [Å], energy [hartree], analytic Hessian [hartree/bohr²], charge and multiplicity. HCN and C2H2
        are exactly linear, along z.

    Raises:
        DatasetError: no data set has this name, or its file is missing or damaged.
    """
    fields = _read(name)
    return Molecule(
        symbols=fields["symbols"].tolist(),
        coordinates=fields["coordinates"],
        hessian=fields["hessian"],
        energy=float(fields["energy"]),
        name=name,
        charge=int(fields["charge"]),
        multiplicity=int(fields["multiplicity"]),
    )


def published_frequencies(name: str) -> np.ndarray:
    """The harmonic frequencies that the quantum-chemistry program itself gives for the shipped Hessian.

    Translations and rotations are projected out, and the masses are those of the most abundant isotopes, so these
    numbers check `Molecule.frequencies` and the unit conversions independently.

    Args:
        name: one of `MOLECULES`.

    Returns:
        Shape (3 n_atoms - 6,), or (3 n_atoms - 5,) for a linear molecule [cm⁻¹]; ascending, imaginary ones negative.

    Raises:
        DatasetError: no data set has this name, or its file is missing or damaged.
    """
    return _read(name)["frequencies"]


def provenance(name: str) -> dict[str, str]:
    """Where a data set comes from.

    Args:
        name: one of `MOLECULES`.

    Returns:
        The density functional (`method`), `basis`, `program` with its version, and the script that ran it (`source`).

    Raises:
        DatasetError: no data set has this name, or its file is missing or damaged.
    """
    fields = _read(name)
    return {key: str(fields[key]) for key in PROVENANCE}


def _read(name: str) -> dict[str, np.ndarray]:
    """All fields of the data set's file."""
    if name not in MOLECULES:
        raise DatasetError(f"there is no data set {name!r}; choose one of {', '.join(MOLECULES)}.")
    path = resources.files("q2mm_accel.datasets") / "data" / f"{name}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {field: archive[field] for field in FIELDS}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise DatasetError(f"{name}: {path} is missing or damaged ({error}); reinstall q2mm_accel.") from error

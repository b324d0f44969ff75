"""The two benchmark problems as q2mm 5.0.0a2 objectives, made with q2mm's own classes."""

import logging

import numpy as np

from q2mm_accel.datasets.rh_enamide import load_rh_enamide, rh_enamide_in_q2mm
from q2mm_accel.datasets.small import load_molecule
from q2mm_accel.interop.pairing import match_as_q2mm

logging.getLogger("q2mm").setLevel(logging.ERROR)


def _objective(molecules, forcefield, spectra):
    from q2mm.backends.mm.jax_engine import JaxEngine
    from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData

    engine, references = JaxEngine(), ReferenceData()
    for number, (molecule, spectrum) in enumerate(zip(molecules, spectra, strict=True)):
        values, modes = match_as_q2mm(spectrum, np.array(engine.frequencies(molecule, forcefield)))
        for value, mode in zip(values, modes, strict=True):
            references.add_frequency(float(value), data_idx=int(mode), weight=0.001, molecule_idx=number)
    return ObjectiveFunction(forcefield, engine, molecules, references)


def ch3f():
    """CH3F with q2mm's perceived terms and Seminario's force constants."""
    from q2mm.models.molecule import Q2MMMolecule
    from q2mm.models.seminario import estimate_force_constants

    ours = load_molecule("ch3f")
    theirs = Q2MMMolecule(list(ours.symbols), ours.coordinates, name="ch3f", hessian=ours.hessian)
    return _objective([theirs], estimate_force_constants(theirs), [ours.frequencies()])


def rh_enamide():
    """Rh-enamide with MM3*'s substructure, read by q2mm."""
    from q2mm.models.seminario import estimate_force_constants

    molecules, forcefield = rh_enamide_in_q2mm()
    ours = [system.molecule.frequencies() for system in load_rh_enamide("harmonic").systems]
    return _objective(molecules, estimate_force_constants(molecules, forcefield=forcefield), ours)

"""Outputs of Q-Chem that print the Hessian.

Read by cclib, whose frequencies and Hessians agree within 0.02 cm⁻¹ in all outputs tried (Q-Chem 5.1 and older);
qc-iodata 1.0 stops at outputs of 5.1. Which job and which geometry counts is found here first: cclib puts all jobs of
an output together, and the last geometry is a displaced one where anharmonic constants were asked for.
"""

import logging

import numpy as np

from q2mm_accel.readers.libraries import library, parsed
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile

_HESSIANS = ("Hessian of the SCF Energy", "Final Hessian.")
_GEOMETRY = "Standard Nuclear Orientation"
_END = "*  Thank you very much for using Q-Chem"


def read(file: TextFile) -> QMRecord:
    """The molecule of the one job of an output that prints a Hessian.

    Raises:
        QMFileError: there is none (Q-Chem 5.4 prints none; its .fchk file has it), or there are several; the output was cut.
        MissingPackageError: cclib is not installed.
    """
    job = _job(file)
    if not list(job.find(_END)):
        raise file.wrong("it does not end with Q-Chem's thanks: the job failed, or the output was cut.")
    hessian = next(iter(job.find(*_HESSIANS)))
    stop = next((line for line in job.find(_GEOMETRY) if line > hessian), len(job.lines))
    found = _by_cclib(job.part(0, stop))
    lacking = [name for name in ("atomnos", "atomcoords", "hessian", "vibfreqs", "atommasses") if not hasattr(found, name)]
    if lacking:
        raise file.wrong(f"cclib does not find {', '.join(lacking)} in it; it is damaged, or of another kind than known.")
    if any(number < 1 for number in found.atomnos):
        raise file.wrong("it has ghost or dummy atoms; leave them out.")
    return QMRecord(
        path=file.path,
        format="qchem-log",
        symbols=tuple(str(int(number)) for number in found.atomnos),
        coordinates=np.array(found.atomcoords[-1]),
        hessian=np.array(found.hessian),
        gradient=np.array(found.grads[-1]) if hasattr(found, "grads") else None,
        energy=_energy(file, found),
        charge=int(found.charge) if hasattr(found, "charge") else None,
        multiplicity=int(found.mult) if hasattr(found, "mult") else None,
        masses=np.array(found.atommasses),
        frequencies=np.array(found.vibfreqs),
    )


def _job(file: TextFile) -> TextFile:
    """The part of the output that is the job with the Hessian."""
    begins = [line for line, text in enumerate(file.lines) if text.strip().startswith("Welcome to Q-Chem")]
    bounds = [0, *begins[1:], len(file.lines)]
    jobs = [file.part(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]
    counts = [len(list(job.find(*_HESSIANS))) for job in jobs]
    if not sum(counts):
        raise file.wrong("it prints no Hessian; give the .fchk file of the job (GUI = 2).")
    if sum(counts) > 1:
        raise file.wrong(f"it prints {sum(counts)} Hessians, of several jobs. Keep one.")
    return jobs[counts.index(1)]


def _by_cclib(job: TextFile):
    parser = library("cclib.parser", "cclib", job.path).QChem
    return parsed(job, ".out", lambda path: parser(path, loglevel=logging.CRITICAL + 1).parse(), "cclib")


def _energy(file: TextFile, found) -> float | None:
    """The energy of the method [hartree]; cclib gives eV."""
    convertor = library("cclib.parser.utils", "cclib", file.path).convertor
    for name in ("ccenergies", "mpenergies", "scfenergies"):
        if hasattr(found, name):
            return float(convertor(np.ravel(getattr(found, name))[-1], "eV", "hartree"))
    return None

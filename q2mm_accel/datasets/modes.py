"""Data sets as problems of normal modes: no force at the QM geometries, and QM's vibrations there."""

from q2mm_accel.datasets.problems import PROBLEMS, TRANSITION_STATES
from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import SMALL, load_molecule
from q2mm_accel.errors import DatasetError
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.recipe import METAL_DISPLACEMENT, SADDLE_TOLERANCE, FitProblem, prepare


def load_modes_problem(
    name: str, form: str = "harmonic", urey_bradley: bool | str = True, vdw: bool = False, **options
) -> FitProblem:
    """A problem: stay at the QM geometry and vibrate there as QM says, with all the terms that the geometry shows.

    The curvature of transition states is turned (`Molecule.as_minimum`), so that the force field holds them as minima.

    Args:
        name: one of `PROBLEMS`. "rh-enamide" is fetched at the first call.
        form: functional form.
        urey_bradley: whether outer atoms of angles get distance terms.
        vdw: whether atoms more than two bonds apart have van der Waals terms, with UFF's parameters; these are not fitted.
        options: further ones of `prepare`.

    Returns:
        The problem.

    Raises:
        DatasetError: unknown name, or data that could not be fetched.
        MissingPackageError: "rh-enamide" without q2mm, whose readers it needs.
    """
    metals = name == "rh-enamide"
    if name in TRANSITION_STATES:
        options.setdefault("bond_tolerance", SADDLE_TOLERANCE)
    if metals and not vdw:
        options.setdefault("displacement", METAL_DISPLACEMENT)
    outer = "all" if urey_bradley and metals else urey_bradley
    return prepare(_molecules(name), form, urey_bradley=outer, vdw=vdw, **options)


def _molecules(name: str) -> list[Molecule]:
    """The molecules of a problem, transition states turned."""
    if name not in PROBLEMS:
        raise DatasetError(f"there is no problem {name!r}; choose one of {', '.join(PROBLEMS)}.")
    if name == "rh-enamide":
        return [system.molecule.as_minimum() for system in load_rh_enamide("harmonic").systems]
    names = [each for each in SMALL if each not in TRANSITION_STATES] if name == "small" else [name]
    found = [load_molecule(each) for each in names]
    return [
        molecule.as_minimum() if each in TRANSITION_STATES else molecule for molecule, each in zip(found, names, strict=True)
    ]

"""The exceptions and warnings of q2mm_accel: every message names the molecule, the item, the value found and a remedy."""

import sys
import warnings
from pathlib import Path
from typing import Any

_PACKAGE = str(Path(__file__).parent)


class Q2MMAccelError(Exception):
    """Base of all errors that q2mm_accel raises on purpose."""


class MoleculeError(Q2MMAccelError, ValueError):
    """A molecule's symbols, coordinates or masses cannot be right."""


class UnitError(MoleculeError):
    """A quantity looks as if it were given in another unit."""


class HessianError(MoleculeError):
    """A quantum-mechanical Hessian has the wrong shape, symmetry, invariance or content."""


class QMFileError(MoleculeError):
    """A file of quantum chemistry is missing, damaged or incomplete, or its parts do not belong together."""


class TopologyError(Q2MMAccelError, ValueError):
    """A term refers to atoms or types that do not exist, occurs twice, or has no defined coordinate."""


class ParameterError(Q2MMAccelError, ValueError):
    """A force-field parameter or parameter vector is malformed or outside its bounds."""


class FormError(Q2MMAccelError, ValueError):
    """An unknown functional form, or one registered twice."""


class ReferenceDataError(Q2MMAccelError, ValueError):
    """A reference points to something that does not exist or cannot be evaluated."""


class InteropError(Q2MMAccelError, ValueError):
    """Another package's object cannot be carried over without changing its meaning."""


class FormatError(InteropError):
    """A file format cannot hold a force field without changing its meaning; the message names terms and other formats."""


class EngineError(Q2MMAccelError, RuntimeError):
    """An engine of another package failed at a molecule, or the process that it ran in ended, hung or did not start.

    Attributes:
        molecule: the molecule's name, or None where it was at none.
        x: the parameter vector, shape (n,), or None.
    """

    molecule: str | None = None
    x: Any = None


class NonFiniteError(Q2MMAccelError, ArithmeticError):
    """The loss or its gradient is not finite at a parameter vector."""


class RelaxationError(Q2MMAccelError, ArithmeticError):
    """A force field has no stationary point near a molecule whose own geometry a reference is about."""


class OptionError(Q2MMAccelError, ValueError):
    """An option of a solver or objective is unknown or has a value it cannot have."""


class LinearityError(Q2MMAccelError, ValueError):
    """A direct solve was asked for, but something in the objective is not linear in force constants and equilibria."""


class ResultError(Q2MMAccelError, RuntimeError):
    """A saved result is damaged, of another version, or none."""


class UncertaintyError(Q2MMAccelError, ValueError):
    """The data leave nothing from which error bars could be told."""


class SolverError(Q2MMAccelError, RuntimeError):
    """A solver broke a promise, such as to stay within bounds; or there is no solution."""


class CheckpointError(Q2MMAccelError, RuntimeError):
    """A checkpoint is damaged, or belongs to another problem or version."""


class PrecisionError(Q2MMAccelError, RuntimeError):
    """JAX is not configured for the precision that was asked for."""


class DeviceError(Q2MMAccelError, ValueError):
    """Devices or a mesh that a problem cannot be shared out to."""


class DeviceMemoryError(Q2MMAccelError, MemoryError):
    """A problem does not fit into the memory of a device."""


class VersionError(Q2MMAccelError, RuntimeError):
    """An installed package has a version known to give wrong results."""


class DatasetError(Q2MMAccelError, RuntimeError):
    """A data set is unknown, incomplete or damaged."""


class OutputError(Q2MMAccelError, OSError):
    """A file or folder cannot be written."""


class MissingPackageError(Q2MMAccelError, ImportError):
    """An optional package is not installed."""


class Q2MMAccelWarning(UserWarning):
    """Base of all warnings of q2mm_accel."""


class LinearAngleWarning(Q2MMAccelWarning):
    """An exactly linear angle has an equilibrium other than 180 degrees: the energy has a kink there."""


class UnusedParameterWarning(Q2MMAccelWarning):
    """No term of any molecule uses a parameter: it cannot be fitted."""


class BoundsWarning(Q2MMAccelWarning):
    """The bounds of a parameter that depends on several others cannot be kept; or q2mm's do not hold its start."""


class NonFiniteWarning(Q2MMAccelWarning):
    """A driver of q2mm asked for the loss where there is none, and was told that it is infinite."""


class CheckpointWarning(Q2MMAccelWarning):
    """A checkpoint could not be written, and the last one stays; or only its best point is used. The fit goes on."""


class UnmatchedTermWarning(Q2MMAccelWarning):
    """A bond, angle or torsion of a molecule has no parameter, so the force field leaves it out."""


class EstimateWarning(Q2MMAccelWarning):
    """A force constant could not be estimated, and keeps the value that it had."""


class HessianWarning(Q2MMAccelWarning):
    """A Hessian is not as exact as it could be."""


class SaddleWarning(Q2MMAccelWarning):
    """A transition state has several imaginary frequencies."""


class FragmentWarning(Q2MMAccelWarning):
    """Nothing holds parts of a molecule together, or no term acts on an atom."""


class DifferenceWarning(Q2MMAccelWarning):
    """An objective that was carried over gives other values than the original."""


def warn_user(message: str, category: type[Q2MMAccelWarning]) -> None:
    """Give a warning that names the line outside of this package which led here, however many calls lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

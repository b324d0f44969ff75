"""The options of `solve_native`, checked before anything is compiled."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from math import inf
from numbers import Integral, Real
from os import PathLike

from q2mm_accel.errors import MissingPackageError, OptionError
from q2mm_accel.model.arguments import truth
from q2mm_accel.runtime import require
from q2mm_accel.solvers.loop import RECORDED
from q2mm_accel.solvers.methods import METHODS
from q2mm_accel.solvers.starts import SAMPLINGS


@dataclass(frozen=True, kw_only=True)
class Options:
    """How `solve_native` goes about it; `FusedObjective.solve_native` explains them.

    Raises:
        OptionError: a value that an option cannot have.
    """

    maxiter: int = 1000
    tol: float = 1e-9
    gtol: float = 1e-8
    n_starts: int = 1
    sampling: str = "perturbation"
    spread: float = 0.2
    seed: int = 0
    lanes: int | None = None
    history_size: int = 20
    callback: Callable | None = None
    callback_every: int = 10
    progress: bool = False
    time_limit: float | None = None
    checkpoint: str | PathLike | None = None
    checkpoint_every: float = 30.0
    resume: str | PathLike | None = None
    precision: str | None = None
    polish: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        for name, least in (("maxiter", 0), ("n_starts", 1), ("seed", 0), ("history_size", 1), ("callback_every", 1)):
            self._check_number(name, Integral, least)
        self._check_number("checkpoint_every", Real, 0.0)
        for name in ("tol", "gtol", "spread"):
            self._check_number(name, Real, 0.0)
            if getattr(self, name) == inf:
                raise OptionError(f"{name} is inf; it must be a number, and finite.")
        for name in ("checkpoint", "resume"):
            path = getattr(self, name)
            if path is not None and not isinstance(path, str | PathLike):
                raise OptionError(f"{name} is {path!r}; it must be the path of a file.")
        if self.lanes is not None:
            self._check_number("lanes", Integral, 1)
        if self.time_limit is not None:
            self._check_number("time_limit", Real, 0.0)
        if self.callback_every > RECORDED:
            raise OptionError(f"callback_every is {self.callback_every}; it must be at most {RECORDED}.")
        if self.sampling not in SAMPLINGS:
            raise OptionError(f"sampling is {self.sampling!r}; choose one of {', '.join(SAMPLINGS)}.")
        if self.callback is not None and not callable(self.callback):
            raise OptionError(f"callback is {self.callback!r}; it must be a function.")
        for name in ("polish", "progress"):
            truth(getattr(self, name), name, OptionError)
        if self.precision is not None:
            require(self.precision)
        if self.polish:
            require("float64")
        if self.progress and find_spec("rich") is None:
            raise MissingPackageError("progress=True needs rich: python -m pip install 'q2mm_accel[cli]'")

    def _check_number(self, name: str, kind: type, least: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
            what = "an integer" if kind is Integral else "a number"
            raise OptionError(f"{name} is {value!r}; it must be {what} of at least {least}.")


def options_of(given: dict) -> Options:
    """Options by name.

    Raises:
        OptionError: an unknown name, or a value that an option cannot have.
    """
    names = [field.name for field in fields(Options)]
    for name in given:
        if name not in names:
            raise OptionError(
                f"solve_native has no option {name!r}; there are {', '.join(['method', 'x0', 'bounds', *names])}."
            )
    return Options(**given)


def check_method(method: str) -> None:
    """Check the name of a method.

    Raises:
        OptionError: there is none of this name.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise OptionError(f"solve_native has no method {method!r}; choose one of {', '.join(METHODS)}.")

"""What happens between the segments of a fit: Ctrl-C, time limit, callback and progress."""

import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from scipy.optimize import OptimizeResult

from q2mm_accel.solvers.fits import Fits
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.options import Options


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Remember a first Ctrl-C instead of raising KeyboardInterrupt; a second one raises it.

    Only in the main thread, as signals reach no other; and only if Ctrl-C raises KeyboardInterrupt by now.

    Yields:
        Whether there was one.
    """
    seen = False

    def remember(number, frame):
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _call(callback: Callable, result: OptimizeResult) -> bool:
    """Call a callback as SciPy does; whether it wants to stop."""
    # SciPy's rule: only a callback whose one parameter has this name gets more than x
    by_name = set(inspect.signature(callback).parameters) == {"intermediate_result"}
    try:
        if by_name:
            callback(intermediate_result=result)
        else:
            callback(result.x)
    except StopIteration:
        return True
    return False


def _bar(options: Options) -> Any:
    """A context manager that shows a bar of rich, or nothing."""
    if not options.progress:
        return nullcontext()
    from rich.progress import Progress

    return Progress(*Progress.get_default_columns(), transient=True)


class Watch:
    """Decides between segments whether fits go on. Use as a context manager around them."""

    def __init__(self, options: Options, began: float, interrupted: Callable[[], bool]) -> None:
        """Prepare to watch.

        Args:
            options: of the fit.
            began: when it was called, by `time.monotonic`.
            interrupted: says whether there was a Ctrl-C.
        """
        self._options, self._interrupted = options, interrupted
        self._end = float("inf") if options.time_limit is None else began + options.time_limit
        self._bar = _bar(options)
        self._task = None

    def __enter__(self) -> "Watch":
        """Show the progress."""
        bar = self._bar.__enter__()
        if bar is not None:
            total = self._options.maxiter if self._options.n_starts == 1 else self._options.n_starts
            self._task = bar.add_task("fit", total=total)
        return self

    def __exit__(self, *details) -> None:
        """Remove the progress."""
        self._bar.__exit__(*details)

    def reason_to_stop(self, fits: Fits) -> Status | None:
        """A status for the fits that have not ended, or None if they go on; exceptions of the callback pass through."""
        if self._task is not None:
            done = fits.nit[0] if len(fits.fun) == 1 else (fits.status != int(Status.RUNNING)).sum()
            self._bar.update(self._task, completed=int(done), description=f"loss {fits.fun[fits.best]:.6g}")
        if self._options.callback is not None and _call(self._options.callback, _so_far(fits)):
            return Status.STOPPED
        if self._interrupted():
            return Status.INTERRUPTED
        return Status.TIME_LIMIT if time.monotonic() >= self._end else None


def _so_far(fits: Fits) -> OptimizeResult:
    best = fits.best
    return OptimizeResult(
        x=fits.x[best].copy(), fun=float(fits.fun[best]), nit=int(fits.nit[best]), nfev=int(fits.nfev.sum())
    )

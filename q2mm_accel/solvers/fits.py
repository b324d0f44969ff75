"""Fits in lanes: the compiled loop's state on the host between segments, with starts that wait and results so far."""

from dataclasses import dataclass, field
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from q2mm_accel.errors import SolverError
from q2mm_accel.memory import memory_explained
from q2mm_accel.problem.arrays import Array, Problem
from q2mm_accel.runtime import exclusive_eigh
from q2mm_accel.solvers.lane import Lane, Setting, Status
from q2mm_accel.solvers.loop import opened, segment
from q2mm_accel.solvers.methods import METHODS
from q2mm_accel.solvers.variables import Space

_ROUNDINGS = 1e4
"""How far beyond a bound a point may lie because of rounding, relative to its size and in units of rounding."""
_CPU_ELEMENTS = 2**15
_DEVICE_ELEMENTS = 2**24
"""Elements of Hessians that keep a CPU or another device busy."""
_JACOBIAN = 4
"""An evaluation with a Jacobian takes about as many times as long as one with a gradient."""
_MOST_LANES = 1024
"""Beyond it there is nothing to gain for molecules of any size, and compiled programs grow."""


_WITHOUT_WRONG_PASS = {"xla_disable_hlo_passes": "permutation_sort_simplifier"}
"""On GPUs it makes wrong programs of the argsort of an argsort, as in `jaxopt.LBFGSB`:
https://github.com/jax-ml/jax/issues/34096"""


def native(mesh: Mesh | None, method: str, history_size: int, *arguments):
    """A segment whose lanes are shared out to the devices of a mesh, each with its own loop and the whole problem."""
    of_lanes = partial(segment, method, history_size)
    if mesh is None:
        return of_lanes(*arguments)
    whole, lanes = PartitionSpec(), PartitionSpec(mesh.axis_names)
    specs = {"in_specs": (whole, lanes, lanes, whole), "out_specs": (lanes, lanes)}
    results = jax.shard_map(of_lanes, mesh=mesh, check_vma=False, **specs)(*arguments)
    return jax.lax.with_sharding_constraint(results, NamedSharding(mesh, whole))


run_segment = jax.jit(native, static_argnums=(0, 1, 2), compiler_options=_WITHOUT_WRONG_PASS)
_outside = jax.jit(Space.outside, static_argnums=0)
"""One program: by itself each of its twenty operations would be compiled."""
_opened = jax.jit(
    lambda method, history_size, point, count: opened(METHODS[method](history_size), point, count), static_argnums=(0, 1, 3)
)


def relaxed_promotion():
    """Two context managers: JAXopt mixes types and ranks in ways that strict settings of JAX refuse."""
    return jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")


@dataclass
class Fits:
    """S fits, of which L at a time are in the compiled loop.

    Attributes:
        method: name of the method.
        history_size: number of steps that a quasi-Newton method remembers.
        setting: what the fits depend on, its numbers in float64.
        mesh: the devices that share the lanes out, or None.
        labels: names of the n elements of x.
        starts: shape (S, n), where they begin.
        lanes: state of the loop, arrays with a leading axis L.
        owner: shape (L,), number of the fit in each lane.
        waiting: number of the next fit that has no lane yet.
        x: shape (S, n), best points.
        bad: shape (S, n), where a loss or derivative was last not finite.
        fun: shape (S,), losses there; infinite before the first evaluation.
        nit: shape (S,).
        nfev: shape (S,).
        status: shape (S,).
        history: for each fit arrays (k, 3): loss, evaluations and norm of the gradient at accepted points.
        settled: whether no segment's results are half taken over, as after a KeyboardInterrupt amid `advance`.
    """

    method: str
    history_size: int
    setting: Setting
    mesh: Mesh | None
    labels: tuple[str, ...]
    starts: np.ndarray
    lanes: Lane
    owner: np.ndarray
    waiting: int
    x: np.ndarray
    bad: np.ndarray
    fun: np.ndarray
    nit: np.ndarray
    nfev: np.ndarray
    status: np.ndarray
    history: list[list[np.ndarray]] = field(default_factory=list)
    settled: bool = True

    @property
    def best(self) -> int:
        """Number of the fit with the lowest loss."""
        return int(np.argmin(self.fun))

    @property
    def running(self) -> bool:
        """Whether a fit has not ended."""
        return bool(np.any(self.status == int(Status.RUNNING)))

    def advance(self, steps: int, trials: int) -> None:
        """One segment: at most a number of accepted steps and of trials for every lane."""
        dtype_promotion, rank_promotion = relaxed_promotion()
        before, until = self.lanes.nfev, self.lanes.nit + steps
        with memory_explained(self.setting.problem, "the solver"), exclusive_eigh(), dtype_promotion, rank_promotion:
            results = run_segment(
                self.mesh, self.method, self.history_size, self.setting, self.lanes, until, np.asarray(trials)
            )
            lanes, record = jax.tree.map(np.array, results)
        # a KeyboardInterrupt from here on would leave fits and lanes at different steps: no checkpoint is written then
        self.settled = False
        self._collect(lanes, record, before)
        self.lanes = lanes
        self._refill()
        self.settled = True

    def _collect(self, lanes: Lane, record: np.ndarray, before: Array) -> None:
        """Take over what a segment found.

        Args:
            lanes: after the segment.
            record: (L, RECORDED + 1, 3), the accepted points, as `segment` gives them.
            before: (L,), evaluations of each lane before the segment.
        """
        space = METHODS[self.method](self.history_size).space
        settings = (self.setting.scale, self.setting.lower, self.setting.upper)
        limits = [np.broadcast_to(each, lanes.best_point.shape) for each in settings]
        self._check_bounds(lanes.best_point, space.box(*limits))
        found, bad = (
            np.clip(np.asarray(_outside(space, points.astype(np.float64), *limits)[0]), *limits[1:])
            for points in (lanes.best_point, lanes.bad_point)
        )
        # a start at a bound is nudged inwards by smooth variables: without any evaluation, the fit is still where it began
        evaluated = np.isfinite(lanes.best_value)[:, None]
        self.x[self.owner] = np.where(evaluated, found, self.starts[self.owner])
        self.bad[self.owner] = bad
        self.fun[self.owner] = lanes.best_value
        for name in ("nit", "nfev", "status"):
            getattr(self, name)[self.owner] = getattr(lanes, name)
        steps = lanes.nit - self.lanes.nit
        for lane, fit in enumerate(self.owner):
            # row 0 is the start, of lanes that evaluated it in this segment
            rows = record[lane, int(before[lane] > 0) : 1 + steps[lane]]
            self.history[fit].append(rows[np.isfinite(rows[:, 0])])

    def _check_bounds(self, points: Array, box: tuple[Array, Array]) -> None:
        """Check that a solver kept its box, up to rounding, which `_collect` clips.

        Raises:
            SolverError: it did not.
        """
        exact, (lower, upper) = points.astype(np.float64), map(np.asarray, box)
        with np.errstate(invalid="ignore"):
            # infinite bounds give inf - inf for points that are not finite
            excess = np.maximum(lower - exact, exact - upper) / np.maximum(1.0, np.abs(exact))
        if np.any(excess > _ROUNDINGS * np.finfo(points.dtype).eps):
            number = int(np.argmax(excess.max(axis=0)))
            raise SolverError(
                f"{self.method} left the bounds {self.setting.lower[number]:.6g} to {self.setting.upper[number]:.6g} of "
                f"parameter {number} ({self.labels[number]}). Please report it, and use another method."
            )

    def _refill(self) -> None:
        """Give the lanes of fits that have ended to those that wait."""
        ended = np.flatnonzero(self.lanes.status != int(Status.RUNNING))[: len(self.starts) - self.waiting]
        if len(ended):
            self.owner[ended] = np.arange(self.waiting, self.waiting + len(ended))
            self.waiting += len(ended)
            fresh = open_lanes(self.method, self.history_size, self.setting, self.starts[self.owner[ended]])
            for old, new in zip(jax.tree.leaves(self.lanes), jax.tree.leaves(fresh), strict=True):
                old[ended] = new

    def stop(self, status: Status) -> None:
        """Give all fits that have not ended a status."""
        self.status[self.status == int(Status.RUNNING)] = int(status)


def usual_lanes(problem: Problem, mesh: Mesh | None, method: str, history_size: int) -> int:
    """How many fits side by side keep a machine busy, one on each device at least; more of them on a CPU would only wait."""
    devices = jax.devices()[:1] if mesh is None else list(mesh.devices.flat)
    enough = len(devices) * (_CPU_ELEMENTS if devices[0].platform == "cpu" else _DEVICE_ELEMENTS)
    if METHODS[method](history_size).squares:
        enough //= _JACOBIAN
    return int(np.clip(enough // problem.hessian_elements, max(2, len(devices)), _MOST_LANES))


def begin(
    method: str,
    history_size: int,
    setting: Setting,
    mesh: Mesh | None,
    labels: tuple[str, ...],
    starts: np.ndarray,
    n_lanes: int,
) -> Fits:
    """Fits from many starts, before any evaluation.

    Args:
        method: name of the method.
        history_size: number of steps that a quasi-Newton method remembers.
        setting: what the fits depend on.
        mesh: the devices that share the lanes out, or None; their number divides that of the lanes.
        labels: names of the n elements of x.
        starts: shape (S, n), within the bounds.
        n_lanes: how many go side by side.

    Returns:
        The fits.
    """
    count = len(starts)
    return Fits(
        method=method,
        history_size=history_size,
        setting=setting,
        mesh=mesh,
        labels=labels,
        starts=starts,
        lanes=open_lanes(method, history_size, setting, starts[:n_lanes]),
        owner=np.arange(min(n_lanes, count)),
        waiting=min(n_lanes, count),
        x=starts.copy(),
        bad=starts.copy(),
        fun=np.full(count, np.inf),
        nit=np.zeros(count, dtype=np.int64),
        nfev=np.zeros(count, dtype=np.int64),
        status=np.full(count, int(Status.RUNNING)),
        history=[[] for _ in range(count)],
    )


def open_lanes(method: str, history_size: int, setting: Setting, starts: np.ndarray) -> Lane:
    """Lanes before their first evaluation, as NumPy arrays, from starts (L, n)."""
    space = METHODS[method](history_size).space
    points = space.inside(starts, *map(np.asarray, (setting.scale, setting.lower, setting.upper)))
    points = points.astype(setting.problem.references.value.dtype)
    # traced for its shape, not computed
    n_residuals = len(setting.problem.references.present) + len(setting.problem.priors.present)
    dtype_promotion, rank_promotion = relaxed_promotion()
    with dtype_promotion, rank_promotion:
        # one lane, repeated: the solver's first state before any evaluation does not depend on the point
        template = _opened(method, history_size, np.zeros_like(points[0]), n_residuals)
    lanes = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], len(points), axis=0), template)
    for name in ("point", "best_point", "bad_point"):
        getattr(lanes, name)[:] = points
    return lanes

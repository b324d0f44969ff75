"""Worker processes that evaluate molecules on an engine of another package; they are spawned, never forked.

Each has a pipe of its own, so that the process that fails is known with what it was at, and whatever it prints goes to
standard error. Each leads its own process group, which is ended with it: programs that an engine has started end too.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from textwrap import shorten

import numpy as np

from q2mm_accel.errors import EngineError
from q2mm_accel.interop.engine_molecules import EngineInputs, Evaluator, pickled

_START_SECONDS = 120.0
"""How long a process may take to import what it needs, twice: Python and this package, then engine and molecules."""
_LEAVE_SECONDS = 3.0
"""How long processes that have nothing to do may take to end by themselves."""
_IN_THIS_PROCESS = "Or give workers=1, which evaluates in this process."

Task = tuple[int, np.ndarray]
"""A share of the inputs, and the parameter vector."""


class _Stage(Enum):
    STARTING = "start"
    LOADING = "load the engine and the molecules"
    IDLE = "wait"
    BUSY = "evaluate"


@dataclass(eq=False)
class _Worker:
    """A process, the end of its pipe here, what it is at, and until when it may be [s of `time.monotonic`]."""

    process: BaseProcess
    connection: Connection
    stage: _Stage
    deadline: float
    place: int = -1

    def enter(self, stage: _Stage, seconds: float = np.inf, place: int = -1) -> None:
        self.stage, self.deadline, self.place = stage, time.monotonic() + seconds, place


class Workers:
    """A number of processes, which start when there is work for them and end together: by `close`, or with this object."""

    def __init__(self, inputs: EngineInputs, count: int, timeout: float) -> None:
        """Start nothing yet.

        Args:
            inputs: what is evaluated.
            count: how many processes there may be.
            timeout: how long one evaluation of one molecule may take [s].

        Raises:
            InteropError: the inputs cannot be pickled.
        """
        self._inputs, self._count, self._timeout = inputs, count, timeout
        self._content = pickled(inputs)
        self._crew: list[_Worker] = []
        self._owner = os.getpid()
        weakref.finalize(self, _end, self._crew, self._owner)
        self.begun = 0

    def run(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """The residuals of shares at vectors, in the order of the tasks. After an error no process is left.

        Raises:
            EngineError: the engine raised something, ended its process, or took too long; or no process can be started.
        """
        with ExitStack() as stack:
            stack.callback(self.close)
            results = self._run(tasks)
            stack.pop_all()
        return results

    def close(self) -> None:
        """End all processes; the next evaluation starts others."""
        _end(self._crew, self._owner)

    def _run(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        results: dict[int, np.ndarray] = {}
        waiting = deque(range(len(tasks)))
        for _ in range(min(self._count, len(tasks)) - len(self._crew)):
            self._crew.append(self._started())
        while len(results) < len(tasks):
            for worker in self._crew:
                if waiting and worker.stage is _Stage.IDLE:
                    self._give(worker, tasks, waiting.popleft())
            for worker in self._answering(tasks):
                place, found = worker.place, self._answer(worker, tasks)
                if found is not None:
                    results[place] = found
        return [results[place] for place in range(len(tasks))]

    def _started(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True, name="q2mm_accel engine")
        try:
            process.start()
        except (OSError, RuntimeError, AssertionError) as error:
            here.close()
            raise EngineError(
                f"a worker process for the engine {self._engine} cannot be started: {shorten(str(error), 150)}. Scripts "
                f"with workers must keep what they do under `if __name__ == '__main__':`. {_IN_THIS_PROCESS}"
            ) from error
        finally:
            there.close()
        worker = _Worker(process, here, _Stage.STARTING, np.inf)
        worker.enter(_Stage.STARTING, _START_SECONDS)
        return worker

    @property
    def _engine(self) -> str:
        return type(self._inputs.engine).__name__

    def _give(self, worker: _Worker, tasks: Sequence[Task], place: int) -> None:
        try:
            worker.connection.send(tasks[place])
        except OSError as error:
            raise self._ended(worker, tasks) from error
        worker.enter(_Stage.BUSY, self._timeout, place)
        self.begun += 1

    def _answering(self, tasks: Sequence[Task]) -> list[_Worker]:
        """Those that have answered or ended; waits until there is one."""
        active = [worker for worker in self._crew if worker.stage is not _Stage.IDLE]
        first = min(worker.deadline for worker in active)
        handles = {handle: worker for worker in active for handle in (worker.connection, worker.process.sentinel)}
        seconds = None if np.isinf(first) else max(0.0, first - time.monotonic())
        found = wait(list(handles), seconds)
        if not found:
            raise self._late(min(active, key=lambda worker: worker.deadline), tasks)
        return list({id(worker): worker for handle, worker in handles.items() if handle in found}.values())

    def _answer(self, worker: _Worker, tasks: Sequence[Task]) -> np.ndarray | None:
        """The residuals that a worker has sent, if it was at any."""
        try:
            if not worker.connection.poll():
                raise self._ended(worker, tasks)
            content = worker.connection.recv()
            if worker.stage is _Stage.STARTING and content is None:
                worker.enter(_Stage.LOADING, _START_SECONDS)
                worker.connection.send_bytes(self._content)
                return None
        except (EOFError, OSError) as error:
            raise self._ended(worker, tasks) from error
        if isinstance(content, EngineError):
            raise content
        worker.enter(_Stage.IDLE)
        return content

    def _ended(self, worker: _Worker, tasks: Sequence[Task]) -> EngineError:
        worker.process.join(_LEAVE_SECONDS)
        code = worker.process.exitcode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with the exit code {code}"
        if worker.stage is _Stage.BUSY:
            return self._inputs.failure(
                *tasks[worker.place],
                f"ended its worker process {how}",
                "What it printed is on standard error. Tighten the bounds of parameters that it cannot have, or leave the "
                "molecule out.",
            )
        return EngineError(
            f"a worker process for the engine {self._engine} ended {how} while it had nothing to evaluate; why "
            "is on standard error. Scripts with workers must keep what they do under `if __name__ == '__main__':`, and "
            f"classes of engines belong into modules. {_IN_THIS_PROCESS}"
        )

    def _late(self, worker: _Worker, tasks: Sequence[Task]) -> EngineError:
        if worker.stage is _Stage.BUSY:
            return self._inputs.failure(
                *tasks[worker.place],
                f"did not answer within {self._timeout:g} s, and was ended",
                "Give a longer timeout (seconds), or tighten the bounds of parameters that it cannot have.",
            )
        return EngineError(
            f"a worker process for the engine {self._engine} took longer than {_START_SECONDS:g} s to {worker.stage.value}. "
            f"Use fewer workers. {_IN_THIS_PROCESS}"
        )


def _end(crew: list[_Worker], owner: int) -> None:
    """End processes, and whatever they have started; those that are at nothing leave by themselves."""
    if os.getpid() != owner:
        return  # a fork of the process that they belong to
    for worker in crew:
        worker.connection.close()
    idle, deadline = [worker.process.sentinel for worker in crew if worker.stage is _Stage.IDLE], time.monotonic()
    deadline += _LEAVE_SECONDS
    while idle and (seconds := deadline - time.monotonic()) > 0.0:
        left = wait(idle, seconds)
        idle = [sentinel for sentinel in idle if sentinel not in left]
    for worker in crew:
        if hasattr(os, "killpg") and worker.process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.kill()
        worker.process.join()
        worker.process.close()
    crew.clear()


def _serve(connection: Connection) -> None:
    """What a worker process does: answer `None` when it is there and when it has loaded, then evaluate until told to end."""
    os.dup2(sys.stderr.fileno(), 1)
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the other end is closed
        connection.send(None)
        content = connection.recv_bytes()
        try:
            evaluator = _loaded(content)
            connection.send(None)
            while True:
                (values,) = evaluator.run([connection.recv()])
                connection.send(values)
        except EngineError as error:
            connection.send(_told(error))


def _loaded(content: bytes) -> Evaluator:
    try:
        return Evaluator(pickle.loads(content))
    except Exception as error:  # unpickling runs the engine's own code
        raise EngineError(
            f"a worker process cannot load the engine and the molecules: {type(error).__name__}: {error}. Classes of "
            f"engines belong into modules that can be imported. {_IN_THIS_PROCESS}"
        ) from error


def _told(error: EngineError) -> EngineError:
    """An error that can be sent: its cause, which may be of any class, becomes a note."""
    cause = error.__cause__
    if cause is not None:
        error.add_note("In the worker process:\n" + "".join(traceback.format_exception(cause)))
    return error


def _end_with_parent() -> None:
    """End this process and what it has started when the one that it works for has ended, even by a signal."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

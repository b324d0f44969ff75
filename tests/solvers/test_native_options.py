"""Options of `solve_native` that cannot be right are refused by name, and before anything is compiled."""

import sys

import numpy as np
import pytest
from helpers import traces
from refusals import SYSTEM, assert_refused, forcefield, refusals

from q2mm_accel import FusedObjective, ReferenceData, Tie
from q2mm_accel.errors import CheckpointError, MissingPackageError, OptionError, OutputError, ParameterError
from q2mm_accel.io import checkpoint
from q2mm_accel.io.checkpoint import Checkpoint, save_checkpoint
from q2mm_accel.solvers.methods import METHODS
from q2mm_accel.solvers.options import Options

CK, R0 = "bond 0 k", "bond 0 r0"
UNLIMITED = [(None, None)] * 4
NUMBER, INTEGER = "must be a number", "must be an integer"


def build(**options):
    references = ReferenceData()
    references.add_frequencies(SYSTEM.molecule.frequencies()[6:], modes=(6, 7, 8), weight=0.001)
    return FusedObjective([SYSTEM], forcefield(form="mm3"), references, **options)


@pytest.fixture(scope="module")
def objective():
    return build()


def refused(objective, error, words, **options):
    """Check that a fit is refused, and that nothing was traced or evaluated before."""
    before, runs = traces.copy(), objective.kernel_runs
    assert_refused(lambda: objective.solve_native(**options), error, words)
    assert traces == before and objective.kernel_runs == runs


METHOD = {
    "unknown": "bfgs",
    "in capitals": "LBFGSB",
    "empty": "",
    "a number": 3,
    "a list": ["lbfgsb"],
}


@pytest.mark.parametrize("fault", METHOD, ids=str)
def test_a_method_is_refused_with_a_list_of_all_when_it_is(objective, fault):
    refused(objective, OptionError, ("no method", repr(METHOD[fault]), *METHODS), method=METHOD[fault])


def test_an_unknown_option_is_refused_with_a_list_of_all(objective):
    names = ("method", "x0", "bounds", *Options.__dataclass_fields__)
    refused(objective, OptionError, ("no option 'maxitr'", *names), maxitr=3)


START = {
    "too long": (np.ones(5), ("x0", "shape (4,)", "(5,)")),
    "a table": (np.ones((1, 4)), ("x0", "shape (4,)", "(1, 4)")),
    "NaN": ([np.nan, 1.0, 50.0, 105.0], (f"x0[0] ({CK}) is nan", "finite")),
    "infinite": ([500.0, np.inf, 50.0, 105.0], (f"x0[1] ({R0}) is inf", "finite")),
    "text": (["high"] * 4, ("x0 must be real numbers",)),
    "below its bounds": ([500.0, 0.4, 50.0, 105.0], (f"parameter 1 of 4 ({R0}) starts at 0.4", "0.5 to 3")),
    "above its bounds": ([1e5, 0.97, 50.0, 105.0], (f"parameter 0 of 4 ({CK}) starts at 100000", "0 to 3600")),
}


@pytest.mark.parametrize("fault", START, ids=str)
def test_a_start_is_refused_when_it_is(objective, fault):
    x0, words = START[fault]
    refused(objective, ParameterError, words, x0=x0)


BOUNDS = {
    "reversed": ([(0.0, 1000.0), (1.5, 0.5), *UNLIMITED[2:]], (f"parameter 1 ({R0})", "1.5 and 0.5", "must not exceed")),
    "NaN": ([(np.nan, 1.0), *UNLIMITED[1:]], (f"parameter 0 ({CK})", "nan and 1.0")),
    "for three parameters": (UNLIMITED[:3], ("for 3 parameters", "there are 4")),
    "without the start": ([*UNLIMITED[:3], (0.0, 90.0)], ("angle 0 theta0", "starts at 105", "0 to 90")),
    "a number": (3.0, ("bounds", "3.0")),
}


@pytest.mark.parametrize("fault", BOUNDS, ids=str)
def test_bounds_are_refused_when_they_are(objective, fault):
    bounds, words = BOUNDS[fault]
    refused(objective, ParameterError, words, bounds=bounds)


VALUES = [
    *(("n_starts", value, INTEGER) for value in (0, -1, 1.5, True, "3", None)),
    *(("maxiter", value, INTEGER) for value in (-1, 10.0, np.nan)),
    *(("tol", value, NUMBER) for value in (-1e-9, np.nan, np.inf, "1e-9", False)),
    *(("gtol", value, NUMBER) for value in (-1e-9, np.nan, None)),
    *(("spread", value, NUMBER) for value in (-0.1, np.nan, np.inf)),
    *(("seed", value, INTEGER) for value in (-1, 0.5, None)),
    *(("lanes", value, INTEGER) for value in (0, -3, 2.0, True)),
    *(("history_size", value, INTEGER) for value in (0, 2.5)),
    *(("callback_every", value, INTEGER) for value in (0, -1, 1.5)),
    ("callback_every", 65, "at most 64"),
    ("callback", 3, "must be a function"),
    *(("sampling", value, "perturbation, sobol") for value in ("halton", "", None, ["sobol"])),
    *(("time_limit", value, NUMBER) for value in (-1.0, np.nan, "10")),
    *(("checkpoint_every", value, NUMBER) for value in (-1.0, np.nan, "30")),
    *((name, value, "path") for name in ("checkpoint", "resume") for value in (3.5, True)),
]


@pytest.mark.parametrize(("name", "value", "rule"), VALUES, ids=[f"{name}={value!r}" for name, value, _ in VALUES])
def test_a_value_is_refused_by_name(objective, name, value, rule):
    refused(objective, OptionError, (f"{name} is {value!r}", rule), **{name: value})


@pytest.mark.parametrize("n_starts", [1, 3])
def test_sobol_starts_need_bounds(objective, n_starts):
    words = ("'sobol'", "finite bounds", "'perturbation'")
    refused(objective, OptionError, words, sampling="sobol", bounds=UNLIMITED, n_starts=n_starts)


def test_progress_needs_rich(objective, monkeypatch):
    for module in ("rich", "rich.progress"):
        monkeypatch.setitem(sys.modules, module, None)
    refused(objective, MissingPackageError, ("rich", "pip install"), progress=True)


PLACES = {
    "a folder that does not exist": (lambda folder: folder / "none" / "fit", ("there is no folder",)),
    "a folder": (lambda folder: folder, ("it is a folder",)),
}


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_checkpoint_is_refused_in(objective, tmp_path, place):
    path_in, words = PLACES[place]
    path = path_in(tmp_path)
    refused(objective, OutputError, (str(path), *words), checkpoint=path)
    assert_refused(lambda: objective.checkpoint(path), OutputError, (str(path), *words))
    assert list(tmp_path.iterdir()) == []


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = {
    "missing": (lambda path: path.unlink(), ("cannot be read", "No such file")),
    "cut short": (cut_short, ("damaged, cut short",)),
    "damaged": (damaged, ("damaged, cut short",)),
    "another file": (lambda path: path.write_text("x = 3\n"), ("no checkpoint at all",)),
}


def assert_no_checkpoint(objective, path, words):
    """Check that no way to use a file as a checkpoint of the objective gets through, and that it stays as it is."""
    content = path.read_bytes() if path.exists() else None
    refused(objective, CheckpointError, (str(path), *words), resume=path)
    assert_refused(lambda: objective.resume_point(path), CheckpointError, (str(path), *words))
    if content is None:
        return
    refused(objective, CheckpointError, (str(path), *words), checkpoint=path)
    assert_refused(lambda: objective.checkpoint(path), CheckpointError, (str(path), *words))
    assert path.read_bytes() == content and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", FILES, ids=str)
def test_a_file_is_neither_resumed_nor_overwritten_when_it_is(objective, tmp_path, fault):
    spoil, words = FILES[fault]
    path = tmp_path / "fit"
    save_checkpoint(path, Checkpoint(objective.fingerprint, "lbfgsb", objective.x0, 1.0))
    spoil(path)
    assert_no_checkpoint(objective, path, words)


def test_a_file_of_another_version_is_neither_resumed_nor_overwritten(objective, tmp_path, monkeypatch):
    path = tmp_path / "fit"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "VERSION", 7)
        save_checkpoint(path, Checkpoint(objective.fingerprint, "lbfgsb", objective.x0, 1.0))
    assert_no_checkpoint(objective, path, ("version 7",))


@refusals(
    {
        "no active parameter": (lambda: build(active=[]), ParameterError, ("nothing to fit", "active")),
        "two ties of one parameter": (
            lambda: build(ties=[Tie.ratio(CK, "angle 0 k", 2.0), Tie.ratio(CK, "angle 0 k", 3.0)]),
            ParameterError,
            (f"'{CK}' is tied twice",),
        ),
    }
)
def test_an_objective_is_refused_for(call, error, words):
    before = traces.copy()
    assert_refused(call, error, words)
    assert traces == before

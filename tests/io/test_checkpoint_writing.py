"""Writing checkpoints: a writer that fails or is killed leaves the last good file, and the fit goes on."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from q2mm_accel.errors import CheckpointWarning, OptionError, OutputError
from q2mm_accel.io import atomic
from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, check_writable, load_checkpoint, save_checkpoint

WRITER = Path(__file__).with_name("checkpoint_writer.py")


def example(fun=0.0):
    """A checkpoint of a fit."""
    return Checkpoint("fingerprint", "lbfgsb", np.array([1.0, 2.0]), fun, {"step": np.array(3)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


UNWRITABLE = {
    "a folder that does not exist": (lambda folder: folder / "missing" / "fit", "there is no folder"),
    "a path below a file": (lambda folder: folder / "file" / "fit", "there is no folder"),
    "a folder": (lambda folder: folder, "it is a folder"),
    "a device": (lambda folder: Path("/dev/null"), "a device"),
    "a name that is too long": (lambda folder: folder / ("f" * 300), "File name too long"),
}


@pytest.mark.parametrize("case", UNWRITABLE, ids=str)
def test_a_path_that_cannot_be_written_is_refused_before_the_fit(tmp_path, case):
    place, words = UNWRITABLE[case]
    (tmp_path / "file").write_bytes(b"")
    path = place(tmp_path)
    for call in (check_writable, Checkpointer, lambda path: save_checkpoint(path, example())):
        with pytest.raises(OutputError) as caught:
            call(path)
        assert str(path) in str(caught.value) and words in str(caught.value)
    assert Path("/dev/null").is_char_device() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write in read-only folders")
def test_a_read_only_folder_is_refused_before_the_fit(path):
    path.parent.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        Checkpointer(path)
    path.parent.chmod(0o700)


def assert_alone(path):
    """Check that nothing lies beside the file."""
    assert sorted(path.parent.iterdir()) == [path]


def test_the_path_is_kept_as_it_was_given_and_nothing_else_is_left(path):
    for name in ("fit", "fit.npz", "fit.checkpoint", "größe 1.tmp"):
        save_checkpoint(path.with_name(name), example(fun=1.0))
        assert load_checkpoint(path.with_name(name)).fun == 1.0
        assert_alone(path.with_name(name))
        path.with_name(name).unlink()


def test_checking_leaves_an_existing_file_as_it_is_and_no_other(path):
    check_writable(path)
    assert not list(path.parent.iterdir())
    path.write_bytes(b"old")
    check_writable(path)
    assert path.read_bytes() == b"old"
    assert_alone(path)


def test_a_file_below_a_symbolic_link_is_replaced_where_it_is(path, tmp_path):
    (tmp_path / "scratch").mkdir()
    path.symlink_to(tmp_path / "scratch" / "real")
    save_checkpoint(path, example(fun=1.0))
    save_checkpoint(path, example(fun=2.0))
    assert path.is_symlink() and load_checkpoint(tmp_path / "scratch" / "real").fun == 2.0
    assert_alone(tmp_path / "scratch" / "real")


def test_a_file_is_on_the_disk_as_a_whole_before_it_takes_the_place_of_the_old_one(path, monkeypatch):
    events = []

    def replace(source, target):
        events.append("replace")
        os.rename(source, target)

    monkeypatch.setattr(atomic.os, "fsync", lambda descriptor: events.append(os.fstat(descriptor)))
    monkeypatch.setattr(atomic.os, "replace", replace)
    save_checkpoint(path, example())
    file, renamed, folder = events
    assert renamed == "replace" and file.st_size == path.stat().st_size and os.path.samestat(folder, path.parent.stat())


def failing(error, call=0):
    """A function that raises at its call of this number, and after."""
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > call:
            raise error

    return fail


FAILURES = {
    "no space left": ("fsync", failing(OSError(errno.ENOSPC, "No space left on device")), "No space left on device"),
    "a lost mount": ("replace", failing(OSError("the mount is gone")), "the mount is gone"),
    "a read-only file system": ("replace", failing(OSError(errno.EROFS, "Read-only file system")), "Read-only file system"),
}


@pytest.mark.parametrize("case", FAILURES, ids=str)
def test_a_failing_write_warns_and_keeps_the_last_good_file(path, monkeypatch, case):
    name, function, words = FAILURES[case]
    checkpointer = Checkpointer(path, every=0.0)
    checkpointer.save(example(fun=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, name, function)
        with pytest.warns(CheckpointWarning) as caught:
            checkpointer.save_if_due(lambda: example(fun=2.0))
        with pytest.raises(OutputError, match=words):
            save_checkpoint(path, example(fun=2.0))
    assert str(path) in str(caught[0].message) and words in str(caught[0].message)
    assert load_checkpoint(path).fun == 1.0
    assert_alone(path)
    checkpointer.save(example(fun=3.0))
    assert load_checkpoint(path).fun == 3.0


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced_is_no_failure_but_a_broken_disk_is(path, monkeypatch, number, fails):
    monkeypatch.setattr(atomic.os, "fsync", failing(OSError(number, "the folder"), call=1))
    if fails:
        with pytest.raises(OutputError, match="the folder"):
            save_checkpoint(path, example(fun=2.0))
    else:
        save_checkpoint(path, example(fun=2.0))
    assert load_checkpoint(path).fun == 2.0
    assert_alone(path)


def test_ctrl_c_during_a_write_keeps_the_last_good_file(path, monkeypatch):
    save_checkpoint(path, example(fun=1.0))
    monkeypatch.setattr(atomic.os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, example(fun=2.0))
    assert load_checkpoint(path).fun == 1.0
    assert_alone(path)


def test_a_folder_that_vanishes_during_the_fit_is_a_warning(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    checkpointer = Checkpointer(folder / "fit")
    folder.rmdir()
    with pytest.warns(CheckpointWarning, match="there is no folder"):
        checkpointer.save(example())


def test_a_relative_path_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    checkpointer = Checkpointer("fit")
    monkeypatch.chdir(tmp_path / "other")
    checkpointer.save(example())
    assert (tmp_path / "fit").is_file() and not (tmp_path / "other" / "fit").exists()


@pytest.mark.parametrize("every", [-1.0, float("nan"), "30", None], ids=str)
def test_an_interval_that_is_none_is_refused(path, every):
    with pytest.raises(OptionError, match="every is"):
        Checkpointer(path, every=every)


def test_checkpoints_are_made_once_per_interval_also_when_writing_fails(path, monkeypatch):
    now, made = [100.0], []

    def make():
        made.append(now[0])
        return example(fun=now[0])

    checkpointer = Checkpointer(path, every=10.0, clock=lambda: now[0])
    for now[0] in (100.0, 109.9, 110.0, 115.0, 119.9, 120.5, 130.0):
        checkpointer.save_if_due(make)
    assert made == [110.0, 120.5] and load_checkpoint(path).fun == 120.5
    with monkeypatch.context() as patch, pytest.warns(CheckpointWarning) as caught:
        patch.setattr(atomic.os, "replace", failing(OSError("full")))
        for now[0] in (131.0, 132.0, 140.0, 141.0):
            checkpointer.save_if_due(make)
    assert made == [110.0, 120.5, 131.0, 141.0] and len(caught) == 2 and load_checkpoint(path).fun == 120.5
    checkpointer.save(example(fun=7.0))
    assert load_checkpoint(path).fun == 7.0


def test_a_full_disk_is_a_warning_and_the_fit_goes_on(path):
    pytest.importorskip("resource")
    finished = subprocess.run(
        [sys.executable, WRITER, "fill", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stderr
    small, large, again = finished.stdout.splitlines()
    assert small == "1.0 True" and again == "3.0 True"
    assert large.startswith(f"1.0 CheckpointWarning: {path} cannot be written: File too large.")
    assert large.endswith("The fit goes on; the last checkpoint written stays. True")


def reported_before_kill(path, seconds):
    """The last number that a writer reported before it was killed, or None."""
    with subprocess.Popen([sys.executable, WRITER, "count", path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        time.sleep(seconds)
        writer.kill()
        lines = writer.stdout.read().split("\n")
    return int(lines[-2]) if len(lines) > 1 else None


@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_kills_lose_at_most_what_was_not_yet_reported(path, kills):
    save_checkpoint(path, Checkpoint("kill test", "lbfgsb", np.zeros(1), 0.0))
    last = 0
    for seconds in np.random.default_rng(50).uniform(0.0, 0.06, kills):
        reported = reported_before_kill(path, seconds)
        last = last if reported is None else reported
        checkpoint = load_checkpoint(path, "kill test")
        assert checkpoint.fun in (last, last + 1), "at most one more was written than reported"
        values = np.concatenate([checkpoint.x, *(array.reshape(-1) for array in checkpoint.arrays.values())])
        assert np.all(values == checkpoint.fun), "the parts of the file belong together"
        last = int(checkpoint.fun)
    assert kills < 50 or len(list(path.parent.iterdir())) > 1, "some kills came while a file was being written"

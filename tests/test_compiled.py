"""Programs that are compiled ahead of the first evaluation, and kept for other processes."""

import jax
from alkane_sets import alkanes, run
from helpers import traces
from refusals import assert_refused

from q2mm_accel.errors import OutputError
from q2mm_accel.runtime import keep_compiled


def compilations(caplog):
    return [record for record in caplog.records if "compil" in record.getMessage().lower()]


def test_warming_up_evaluates_nothing_and_the_first_evaluation_then_compiles_nothing(caplog):
    objective = alkanes((5, 5))
    before = traces["loss"]
    with jax.log_compiles():
        objective.warmup()
        assert traces["loss"] == before + 1 and compilations(caplog)
        assert objective.kernel_runs == 0 and objective.best is None
        caplog.clear()
        objective.fun_and_jac(objective.x0)
    assert not compilations(caplog)
    assert traces["loss"] == before + 1 and objective.kernel_runs == 1


KEPT = """
import sys
import jax
from alkane_sets import alkanes
from q2mm_accel.runtime import keep_compiled

events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rsplit("/", 1)[-1]))
keep_compiled(sys.argv[1])
objective = alkanes((5, 5))
objective.warmup()
print(events.count("cache_hits"), events.count("cache_misses"), *objective.fun_and_jac(objective.x0)[1], objective.best.fun)
"""


def test_another_process_takes_compiled_programs_from_the_folder(tmp_path):
    first = run(KEPT, str(tmp_path)).stdout.split()
    names = sorted(path.name for path in tmp_path.iterdir())
    second = run(KEPT, str(tmp_path)).stdout.split()
    assert names and sorted(path.name for path in tmp_path.iterdir()) == names
    assert int(first[0]) == 0 < int(first[1]) == int(second[0]) and int(second[1]) == 0
    assert first[2:] == second[2:] and len(first) > 10


def test_folders_may_be_the_users_own_or_relative(tmp_path):
    code = "from q2mm_accel.runtime import keep_compiled; print(keep_compiled('~/kept'), keep_compiled())"
    found = run(f"import os; os.chdir({str(tmp_path)!r}); {code}", Q2MM_ACCEL_CACHE="cache", HOME=str(tmp_path / "home"))
    assert found.stdout.split() == [str(tmp_path / "home" / "kept"), str(tmp_path / "cache" / "compiled")], found.stderr


def test_a_folder_that_cannot_be_made_is_refused_and_nothing_is_switched_on(tmp_path):
    (tmp_path / "file").touch()
    before = jax.config.jax_compilation_cache_dir
    path = tmp_path / "file" / "compiled"
    assert_refused(lambda: keep_compiled(path), OutputError, (str(path), "cannot be made", "Give another folder"))
    assert jax.config.jax_compilation_cache_dir == before


def test_programs_are_kept_in_the_cache_folder_unless_another_is_given(tmp_path):
    code = "from q2mm_accel.runtime import keep_compiled; print(keep_compiled(), keep_compiled('other'))"
    found = run(f"import os; os.chdir({str(tmp_path)!r}); {code}", Q2MM_ACCEL_CACHE=str(tmp_path / "cache"))
    assert found.stdout.split() == [str(tmp_path / "cache" / "compiled"), str(tmp_path / "other")], found.stderr
    assert (tmp_path / "cache" / "compiled").is_dir() and (tmp_path / "other").is_dir()

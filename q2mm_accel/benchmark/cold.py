"""A fresh process: time from loaded data to the first loss and gradient, and peak memory.

`python -m q2mm_accel.benchmark.cold PROBLEM FORM` prints one line of JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

import jax

from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.objective import FusedObjective


def measure(name: str, form: str) -> dict[str, float]:
    """Seconds to build and to run for the first time (nothing compiled before), and peak memory of the process [MB]."""
    problem = load_problem(name, form)
    jax.clear_caches()
    begin = time.perf_counter()
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    built = time.perf_counter()
    objective.fun_and_jac(objective.x0)
    done = time.perf_counter()
    return {"build_s": built - begin, "first_call_s": done - built, "total_s": done - begin, "peak_MB": peak_megabytes()}


def peak_megabytes() -> float:
    """Largest memory of this process. Linux' ru_maxrss would start from that of the process which started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))

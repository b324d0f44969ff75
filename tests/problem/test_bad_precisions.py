"""Precisions that do not exist, that JAX is not set up for, or that cannot tell what references ask for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tolerances
from refusals import SYSTEM, assert_refused, forcefield, refusals

from q2mm_accel import FusedObjective, Reference
from q2mm_accel.errors import OptionError, PrecisionError
from q2mm_accel.runtime import PRECISIONS

FREQUENCIES = [Reference("frequency", value, 0.001, index=6 + n) for n, value in enumerate((1600.0, 3700.0, 3800.0))]


def build(*references, **options):
    return FusedObjective([SYSTEM], forcefield(form="mm3"), [*FREQUENCIES, *references], **options)


FAR = Reference("energy", -1e5)
SOFT = Reference("frequency", 9.0, index=5)
IMAGINARY = Reference("frequency", -9.0, index=0)
RELATIVE = [Reference("relative_energy", value, index="all") for value in (-1e5, 0.0)]
STIFF = Reference("hessian_element", 1e3, index=(0, 0))
RELATE = "Give energies relative to a molecule of the set, or use precision='mixed'"
LEAVE_OUT = "Leave the reference out, or use precision='float64'"

NEEDS_MORE = {
    "an energy of -1e5 kcal/mol in float32": ("float32", [FAR], ("energy", "-100000", "0.001 kcal/mol", RELATE)),
    "such a relative energy": ("float32", RELATIVE, ("relative_energy", "-100000", "0.001 kcal/mol", RELATE)),
    "a Hessian element of 1000": ("float32", [STIFF], ("hessian_element", "1000", "1e-05 hartree/bohr²")),
    "a rigid motion in float32": ("float32", [SOFT], ("frequency", "9 cm⁻¹", "rigid motion", LEAVE_OUT)),
    "a rigid motion in mixed": ("mixed", [SOFT], ("frequency", "9 cm⁻¹", "rigid motion", LEAVE_OUT)),
    "a slightly imaginary mode in mixed": ("mixed", [IMAGINARY], ("frequency", "-9 cm⁻¹", LEAVE_OUT)),
}


def refused_by_an_objective(precision, references):
    return lambda: build(*references, precision=precision)


def refused_by_a_fit(precision, references):
    return lambda: build(*references).solve_native(precision=precision)


@pytest.mark.parametrize("weight", [1e-20, 1e20])
@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_weights_whose_squares_float32_does_not_hold_are_refused(precision, weight):
    words = (SYSTEM.molecule.name, "square of its weight", "1e-16 and 1e+16", "float64")
    references = [Reference("energy", 1.0, weight)]
    assert_refused(refused_by_an_objective(precision, references), PrecisionError, words)
    assert np.isfinite(build(*references).fun([500.0, 0.97, 50.0, 105.0]))


BY = {"an objective": refused_by_an_objective, "a fit": refused_by_a_fit}


@refusals(
    {
        f"{sentence}, by {who}": (call(precision, references), PrecisionError, (SYSTEM.molecule.name, *words))
        for sentence, (precision, references, words) in NEEDS_MORE.items()
        for who, call in BY.items()
    }
)
def test_what_a_precision_cannot_tell_is_refused(call, error, words):
    assert_refused(call, error, words)


ACCEPTED = {
    "an energy of -1e5 kcal/mol in mixed": ("mixed", [FAR]),
    "an energy of -1e4 kcal/mol in float32": ("float32", [Reference("energy", -1e4)]),
    "a mode of 10 cm⁻¹ in float32": ("float32", [Reference("frequency", 10.0, index=5)]),
    "a rigid motion in float64": ("float64", [SOFT]),
    "a rigid motion without weight": ("float32", [Reference("frequency", 9.0, 0.0, index=5)]),
}


@pytest.mark.parametrize("sentence", ACCEPTED)
def test_what_it_can_tell_is_accepted(sentence):
    precision, references = ACCEPTED[sentence]
    assert np.isfinite(build(*references, precision=precision).fun([500.0, 0.97, 50.0, 105.0]))


@pytest.mark.parametrize("precision", ["half", "", "FLOAT32", None, 32, np.float32, ("float32",)], ids=str)
def test_an_unknown_precision_is_refused_with_a_list_of_all(precision):
    assert_refused(lambda: build(precision=precision), OptionError, (repr(precision), *PRECISIONS))


def test_fits_refuse_an_unknown_precision_and_a_polish_that_is_no_truth_value():
    objective = build()
    for precision in ("half", 32):
        assert_refused(lambda p=precision: objective.solve_native(precision=p), OptionError, (repr(precision), *PRECISIONS))
    for polish in ("x", 1, None):
        words = (f"polish is {polish!r}", "True or False")
        assert_refused(lambda p=polish: objective.solve_native(polish=p), OptionError, words)
    assert objective.kernel_runs == 0


WITHOUT_64_BITS = """
from test_bad_precisions import build
from q2mm_accel.errors import PrecisionError

objective = build(precision="float32")
x = objective.x0
print("fun:", objective.fun(x))
print("gradient:", *objective.jac(x))
print("by residuals:", *(2.0 * objective.residuals(x) @ objective.residuals_jac(x)))
print("fit:", objective.solve_native("levenberg-marquardt", n_starts=3).fun)
for call in (
    lambda: build(precision="float64"),
    lambda: build(precision="mixed"),
    lambda: objective.solve_native(precision="mixed"),
    lambda: objective.solve_native(polish=True),
):
    try:
        call()
    except PrecisionError as error:
        print("refused:", error)
"""


@pytest.fixture(scope="module")
def output():
    """What a process without JAX's 64-bit mode prints, by the words before colons."""
    folders = [str(folder) for folder in Path(__file__).parents[:3]]
    environment = os.environ | {"JAX_ENABLE_X64": "0", "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-W", "error", "-c", WITHOUT_64_BITS]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert finished.returncode == 0, finished.stderr
    lines = [line.split(": ", 1) for line in finished.stdout.splitlines()]
    return {name: [value for key, value in lines if key == name] for name, _ in lines}


def test_float32_works_without_64_bits(output):
    exact = build()
    gradient = exact.jac(exact.x0)
    assert float(output["fun"][0]) == pytest.approx(exact.fun(exact.x0), rel=tolerances.LOSS_SINGLE)
    for name in ("gradient", "by residuals"):
        found = np.array(output[name][0].split(), dtype=np.float64)
        assert np.abs(found - gradient).max() <= tolerances.JAC_SINGLE * np.abs(gradient).max()
    assert float(output["fit"][0]) < 1e-3 * exact.fun(exact.x0)


def test_without_64_bits_all_else_is_refused_with_the_remedy(output):
    assert len(output["refused"]) == 4
    for message in output["refused"]:
        assert "JAX_ENABLE_X64=0" in message and "choose precision='float32'" in message

"""Internal variables of the solvers: at a bound means exactly at it."""

import jax.numpy as jnp
import numpy as np
import pytest

from q2mm_accel.solvers.variables import BOX


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_variable_in_a_box_that_starts_at_a_bound_is_exactly_there(dtype):
    rng = np.random.default_rng(0)
    scale, lower = rng.uniform(0.01, 100.0, 1000), rng.uniform(-1000.0, 1000.0, 1000)
    upper = lower + rng.uniform(0.1, 1.0, 1000) * scale
    to = [jnp.asarray(array.astype(dtype)) for array in (scale, lower, upper)]
    for bound, expected in zip((lower, upper), to[1:], strict=True):
        internal = jnp.asarray(BOX.inside(bound, scale, lower, upper).astype(dtype))
        np.testing.assert_array_equal(BOX.outside(internal, *to)[0], expected)


def test_a_variable_between_its_bounds_stays_there():
    scale, lower, upper = (jnp.asarray([value]) for value in (2.0, 1.0, 3.0))
    for internal in (0.5 * (1.0 + 1e-13), 1.0, 1.5 * (1.0 - 1e-13)):
        assert BOX.outside(jnp.asarray([internal]), scale, lower, upper)[0][0] == 2.0 * internal

"""Second derivatives of the loss, exact, along a direction."""

from functools import partial

import jax

from q2mm_accel.kernel.residuals import loss


def hessian_product(problem, vector, direction):
    """The Hessian of the loss at a vector (n,) times a direction (n,): (n,).

    Forward first: where batches take turns, JAX forgets the rule for eigenvalues when it differentiates backward and then
    again, and takes its own, which divides by the distance of equal eigenvalues.
    """

    def along(vector):
        return jax.jvp(partial(loss, problem), (vector,), (direction,))[1]

    return jax.grad(along)(vector)

"""Fit molecular-mechanics force fields to quantum chemistry in one compiled, differentiable JAX program.

`fit` goes all the way from molecules to a validated force field. Step by step: describe molecules (`Molecule`, `System`), a
`ForceField` and `Reference` values; `FusedObjective` gives SciPy the loss and its exact gradient.

The public names are those of `q2mm_accel.public`. All are loaded, and JAX is set up, when the first one is asked for:
so `q2mm-accel --help` need not wait for JAX.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from q2mm_accel.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if name == "public":  # while it is being imported
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from q2mm_accel import public

    globals().update({each: getattr(public, each) for each in public.__all__}, __all__=public.__all__)
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    from q2mm_accel import public

    return sorted({*globals(), *public.__all__})

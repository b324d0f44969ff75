"""Few terms and types, as q2mm has them: what tests of anything but perception start from."""

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.system import System


def perceive_bare(molecules, form: str = "harmonic", **options) -> tuple[list[System], ForceField]:
    """Types by element, no impropers, one type for all angles of the same atoms, and force constants of either sign."""
    chosen = {"by": "element", "impropers": False, "angle_gap": None, "bond_gap": None, "margins": None, **options}
    if options.get("urey_bradley") is True:
        chosen["urey_bradley"] = "all"
    systems, forcefield = perceive(molecules, form=form, **chosen)
    return systems, forcefield.with_bounds(**SIGNED_BOUNDS)

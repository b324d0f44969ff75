"""Active parameters, ties and scales that cannot be right are refused, by name and with a remedy."""

from dataclasses import replace

import numpy as np
from refusals import assert_refused, refusals

from q2mm_accel import FusedObjective, Tie
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import ParameterError
from q2mm_accel.parameters.space import parameter_space

PROBLEM = load_problem("ch3f")
CF, RF, CH, RH = "bond C-F k", "bond C-F r0", "bond C-H k", "bond C-H r0"
FCH, FCH0, HCH0 = "angle F-C-H k", "angle F-C-H theta0", "angle H-C-H theta0"


def build(**options):
    return lambda: FusedObjective(PROBLEM.systems, PROBLEM.forcefield, PROBLEM.references, **options)


def space_of(**options):
    return lambda: parameter_space(PROBLEM.forcefield, **options)


BAD = {
    "a name that matches nothing": (space_of(active=["bond C-G k"]), ("active", "'bond C-G k'", CF, "bond_force_constants")),
    "a pattern that matches nothing": (space_of(active="torsion *"), ("active", "'torsion *'", "Labels are")),
    "a field without types": (space_of(active="vdw_radii"), ("'vdw_radii' matches no parameter",)),
    "a mask of wrong length": (space_of(active=[True] * 3), ("a mask of 3 entries", "8 parameters")),
    "a mask of nothing": (space_of(active=[False] * 8), ("nothing to fit",)),
    "no name": (space_of(active=[]), ("nothing to fit",)),
    "numbers": (space_of(active=[0, 1]), ("active[0] is 0", "boolean mask")),
    "a number": (space_of(active=3), ("active is 3",)),
    "everything tied away": (
        space_of(active=[CF, CH], ties=[Tie.ratio(CF, CH, 2.0), Tie(CH, {RF: 1.0})]),
        ("nothing to fit", "active"),
    ),
    "a scale of another name": (space_of(parameter_scale="usual"), ("'usual'", "'typical'")),
    "a tie of an unknown label": (space_of(ties=[Tie.ratio("bond X k", CF, 2.0)]), ("'bond X k'", "no parameter", CF)),
    "a tie to an unknown label": (space_of(ties=[Tie.ratio(CF, "bond X k", 2.0)]), (f"tie of '{CF}'", "'bond X k'")),
    "a parameter tied twice": (space_of(ties=[Tie.ratio(CF, CH, 2.0), Tie(CF, {FCH: 1.0})]), (f"'{CF}' is tied twice",)),
    "a circle": (
        space_of(ties=[Tie.ratio(CF, CH, 2.0), Tie.ratio(CH, FCH, 2.0), Tie.ratio(FCH, CF, 2.0)]),
        ("circle", CF, CH, FCH),
    ),
    "a tie to itself": (lambda: Tie(CF, {CF: 1.0}), (f"'{CF}'", "to itself")),
    "a tie to nothing": (lambda: Tie(CF, {}), (f"'{CF}'", "leave it out of active")),
    "a tie to a list": (lambda: Tie(CF, [CH]), (f"'{CF}'", "terms is")),
    "a factor that is NaN": (lambda: Tie.ratio(CF, CH, np.nan), (f"'{CF}'", f"'{CH}'", "finite")),
    "a factor of 0": (lambda: Tie.ratio(CF, CH, 0.0), (f"'{CF}'", f"'{CH}' is 0")),
    "a constant that is text": (lambda: Tie(CF, {CH: 1.0}, "one"), (f"'{CF}'", "constant")),
    "a tie of a number": (lambda: Tie(3, {CH: 1.0}), ("3", "named by its label")),
    "a tied parameter that is frozen": (
        space_of(active=[CF], ties=[Tie.ratio(CH, CF, 2.0)]),
        (f"'{CH}' is not in active", f"'{CF}'"),
    ),
    "a tied parameter that cannot move": (
        space_of(active=[CF, CH], ties=[Tie.ratio(CH, FCH, 2.0)]),
        (f"'{CH}' is active", "119.203"),
    ),
    "frozen parameters that break their tie": (
        space_of(active=[CF], ties=[Tie.ratio(CH, FCH, 2.0)]),
        (f"'{CH}'", "348.268", "119.203"),
    ),
}
OBJECTIVES = {
    "ties that are no ties": (build(ties=[(CF, CH)]), ("ties[0] is a tuple", "make a Tie")),
    "ties that are a number": (build(ties=1.0), ("ties is 1.0",)),
    "bounds that exclude each other": (
        build(ties=Tie.ratio(HCH0, RH, 5.0)),
        (f"'{RH}'", f"'{HCH0}'", "Change the tie"),
    ),
    "a start outside the bounds of a tied parameter": (
        build(ties=Tie.ratio(FCH0, HCH0, 1.7)),
        (f"({HCH0}) starts at 110.488", "30 to 105.882"),
    ),
    "bounds of all parameters for some": (
        build(active=[CF, CH], bounds=[(None, None)] * 8),
        ("for 8 parameters", "there are 2"),
    ),
    "a start of all parameters for some": (
        build(active=[CF, CH], x0=np.ones(8)),
        ("shape (2,)", "(8,)"),
    ),
    "a label of two parameters": (
        lambda: parameter_space(
            replace(PROBLEM.forcefield, labels=["bond k"] * 2 + ["x"] * 6), ties=[Tie.ratio("bond k", "x", 2.0)]
        ),
        ("'bond k' belongs to 2 parameters (0, 1)",),
    ),
}


@refusals({sentence: (call, ParameterError, words) for sentence, (call, words) in (BAD | OBJECTIVES).items()})
def test_a_space_is_refused_for(call, error, words):
    assert_refused(call, error, words)

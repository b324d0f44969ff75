"""Every public function, class and method, given a wrong type for each of its arguments, says which one it is.

No argument leads to a TypeError, ValueError or AttributeError of Python, NumPy or JAX, nor is it taken for something else.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FunctionType

import numpy as np
import openmm
import pytest
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import ForceField as Q2MMForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceValue
from q2mm.optimizers.objective import ReferenceData as Q2MMReferenceData
from qm_objects import Atoms, MeanField, Wavefunction
from refusals import SYSTEM, WATER, forcefield

import q2mm_accel
from q2mm_accel import (
    Background,
    EngineObjective,
    ForceField,
    FusedObjective,
    Molecule,
    Parameter,
    Prior,
    Reference,
    System,
    Tie,
    accelerate,
    compare,
    cross_validate,
    estimate_force_constants,
    fit,
    frequencies,
    from_openmm,
    keep_compiled,
    perceive,
    prepare,
    read_molecules,
    register_form,
    register_kind,
    relax_systems,
    to_openmm,
    validate,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import provenance, published_frequencies
from q2mm_accel.errors import Q2MMAccelError
from q2mm_accel.io import checkpoint, results
from q2mm_accel.io.atomic import check_writable, replace_file
from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, load_checkpoint, save_checkpoint
from q2mm_accel.io.results import forcefield_text, read_forcefield, write_json, write_table
from q2mm_accel.model.kinds import PairKind, parameter_fields, term_kinds
from q2mm_accel.solvers.options import Options
from q2mm_accel.writers.forcefields import write_forcefield

WRONG = {
    "None": None,
    "text": "x",
    "bytes": b"x",
    "a number": 7,
    "a fraction": 0.5,
    "NaN": np.nan,
    "a complex number": 1j,
    "a truth value": True,
    "an object": object(),
    "an empty row": [[]],
    "a list of None": [None],
    "a dictionary": {"x": 1},
    "a class": int,
    "a function": len,
}
"""What an argument is given, unless the argument may be it."""

NUMBER = {"a number", "a fraction"}
COUNT = {"a number"}
TRUTH = {"a truth value"}
OPTIONAL = {"None"}
TEXT = {"text"}
PATH = {"text"}


@dataclass(frozen=True, eq=False)
class Case:
    """A public name: how it is called rightly, and what each argument may be, of the things above.

    Attributes:
        call: the function, class or method.
        given: arguments that it can be called with.
        may_be: argument -> those of `WRONG` that it may be.
        named: argument -> the word for it in messages, where that is not its name.
        skipped: arguments that are tested elsewhere.
    """

    call: Callable
    given: dict
    may_be: dict[str, set[str]]
    named: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


ENERGY = Reference("energy", 0.0)
GEOMETRY = str(Path(__file__).parent / "data" / "qm" / "xtb" / "xtbopt.xyz")
OBJECTIVE = FusedObjective([SYSTEM], forcefield(), [ENERGY])
X0 = OBJECTIVE.x0
POINT = Checkpoint("f", "lbfgsb", X0, 1.0)


def method(name, may_be, named=None, **given):
    """A method of an objective."""
    return Case(getattr(OBJECTIVE, name), given, may_be, named or {})


def of_q2mm():
    """The energy of water as an objective of q2mm."""
    molecule = Q2MMMolecule(list(WATER.symbols), WATER.coordinates)
    references = Q2MMReferenceData([ReferenceValue("energy", 1.0)])
    return ObjectiveFunction(Q2MMForceField.create_for_molecule(molecule), JaxEngine(), [molecule], references)


def water_of_openmm():
    """Water with nothing but bonds."""
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    for mass in (15.999, 1.008, 1.008):
        system.addParticle(mass)
    for hydrogen in (1, 2):
        bonds.addBond(0, hydrogen, 0.097, 4e5)
    system.addForce(bonds)
    return system


ENGINE_OBJECTIVE = EngineObjective(of_q2mm())


def of_x(name):
    return method(name, {"x": set()}, {"x": "x must"}, x=X0)


OPTIONS = {
    "maxiter": COUNT,
    "tol": NUMBER,
    "gtol": NUMBER,
    "n_starts": COUNT,
    "sampling": set(),
    "spread": NUMBER,
    "seed": COUNT,
    "lanes": OPTIONAL | COUNT,
    "history_size": COUNT,
    "callback": {"None", "a class", "a function"},
    "callback_every": COUNT,
    "progress": TRUTH,
    "time_limit": OPTIONAL | NUMBER,
    "checkpoint": OPTIONAL | PATH,
    "checkpoint_every": NUMBER,
    "resume": OPTIONAL | PATH,
    "precision": OPTIONAL,
    "polish": TRUTH,
}

OF_OBJECTIVES = {
    "uncertainty": method("uncertainty", {"x": set(), "scaled": TRUTH, "by_molecule": TRUTH}, x=X0),
    "reweighted": method("reweighted", {"weights": set()}, weights=[1.0]),
    **{name: of_x(name) for name in ("expand", "forcefield", "fun", "jac", "fun_and_jac", "residuals", "residuals_jac")},
    **{name: of_x(name) for name in ("hess", "predictions")},
    "reduce": method("reduce", {"parameters": set()}, parameters=X0),
    "hessp": method("hessp", {"x": set(), "p": set()}, {"x": "x must", "p": "p must"}, x=X0, p=X0),
    "fun_batch": method("fun_batch", {"vectors": set()}, vectors=[X0]),
    "solve_native": Case(
        OBJECTIVE.solve_native, {"maxiter": 1}, {"method": OPTIONAL, "x0": OPTIONAL, "bounds": OPTIONAL} | OPTIONS
    ),
    "solve_linear": method("solve_linear", {"stiffness": OPTIONAL | {"a fraction"}}),
    "checkpoint": method("checkpoint", {"path": PATH, "every": NUMBER}, path="x"),
    "resume_point": method("resume_point", {"path": PATH}),
    "warmup": method("warmup", {}),
    "from_q2mm": Case(
        FusedObjective.from_q2mm,
        {"objective_function": of_q2mm()},
        {"objective_function": set(), "x0": OPTIONAL, "bounds": OPTIONAL, "clipped_angles": TRUTH, "check": OPTIONAL},
        {"objective_function": "ObjectiveFunction"},
    ),
}

OF_ENGINES = {
    **{
        name: Case(getattr(ENGINE_OBJECTIVE, name), {"x": X0}, {"x": set()}, {"x": "x must"})
        for name in ("forcefield", "fun", "jac", "fun_and_jac", "residuals", "residuals_jac")
    },
    "fun_batch": Case(ENGINE_OBJECTIVE.fun_batch, {"vectors": [X0]}, {"vectors": set()}),
    "solve_native": Case(ENGINE_OBJECTIVE.solve_native, {}, {}, skipped=("method", "x0", "bounds")),
    "solve_linear": Case(ENGINE_OBJECTIVE.solve_linear, {}, {}, skipped=("stiffness",)),
}
"""The two last ones are refused whatever they are given."""

AT_THE_TOP = {
    "accelerate": Case(
        accelerate,
        {"objective_function": of_q2mm()},
        {"objective_function": set()},
        {"objective_function": "ObjectiveFunction"},
    ),
    "compare": Case(
        compare,
        {"objective_function": of_q2mm(), "fused": OBJECTIVE},
        {"objective_function": set(), "fused": set(), "n": COUNT, "seed": COUNT},
        {"objective_function": "ObjectiveFunction"},
    ),
    "FusedObjective": Case(
        FusedObjective,
        {"systems": [SYSTEM], "forcefield": forcefield(), "references": [ENERGY]},
        {
            "systems": set(),
            "forcefield": set(),
            "references": set(),
            "x0": OPTIONAL,
            "bounds": OPTIONAL,
            "parameter_scale": OPTIONAL,
            "active": OPTIONAL,
            "ties": set(),
            "priors": set(),
            "l2": NUMBER,
            "balance": OPTIONAL,
            "loss": set(),
            "f_scale": NUMBER,
            "precision": set(),
            "batch_size": OPTIONAL | COUNT,
            "devices": OPTIONAL,
            "mesh": OPTIONAL,
            "n_maximized": COUNT,
            "unrelaxed_penalty": OPTIONAL | NUMBER,
        },
    ),
    "EngineObjective": Case(
        EngineObjective,
        {"objective_function": of_q2mm()},
        {
            "objective_function": set(),
            "x0": OPTIONAL,
            "bounds": OPTIONAL,
            "workers": COUNT,
            "timeout": NUMBER,
            "steps": OPTIONAL | NUMBER,
        },
        {"objective_function": "ObjectiveFunction"},
    ),
    "Molecule": Case(
        Molecule,
        {"symbols": WATER.symbols, "coordinates": WATER.coordinates},
        {
            "symbols": set(),
            "coordinates": set(),
            "hessian": OPTIONAL,
            "energy": OPTIONAL | NUMBER,
            "name": OPTIONAL | TEXT,
            "charge": COUNT,
            "multiplicity": COUNT,
            "masses": OPTIONAL,
            "gradient": OPTIONAL,
            "turned": set(),
            "waived": set(),
        },
        {"symbols": "symbol"},
    ),
    "Molecule.read": Case(
        Molecule.read,
        {"path": GEOMETRY},
        {
            "path": PATH,
            "format": OPTIONAL,
            "hessian": OPTIONAL | PATH,
            "name": OPTIONAL | TEXT,
            "charge": OPTIONAL | COUNT,
            "multiplicity": OPTIONAL | COUNT,
            "waived": set(),
        },
    ),
    "Molecule.from_pyscf": Case(
        Molecule.from_pyscf,
        {"calculation": MeanField()},
        {"calculation": set(), "hessian": OPTIONAL, "name": OPTIONAL | TEXT, "gradient": TRUTH},
    ),
    "Molecule.from_ase": Case(
        Molecule.from_ase,
        {"atoms": Atoms()},
        {
            "atoms": set(),
            "hessian": OPTIONAL,
            "name": OPTIONAL | TEXT,
            "charge": OPTIONAL | COUNT,
            "multiplicity": OPTIONAL | COUNT,
        },
    ),
    "Molecule.from_psi4": Case(
        Molecule.from_psi4, {"wavefunction": Wavefunction()}, {"wavefunction": set(), "name": OPTIONAL | TEXT}
    ),
    "read_molecules": Case(read_molecules, {"paths": [GEOMETRY]}, {"paths": set()}),
    "Molecule.as_minimum": Case(WATER.as_minimum, {}, {"method": set()}),
    "Molecule.known_hessian": Case(WATER.known_hessian, {}, {}, skipped=("wanted",)),
    "Tie": Case(
        Tie,
        {"parameter": "bond 0 k", "terms": {"bond 1 k": 1.0}},
        {"parameter": TEXT, "terms": {"a dictionary"}, "constant": NUMBER},
    ),
    "Tie.equal": Case(
        Tie.equal, {"first": "a", "second": "b"}, {"first": TEXT, "second": TEXT}, {"second": "tied parameter"}
    ),
    "Tie.ratio": Case(
        Tie.ratio,
        {"parameter": "a", "other": "b", "factor": 2.0},
        {"parameter": TEXT, "other": TEXT, "factor": NUMBER},
        {"factor": "coefficient"},
    ),
    "Tie.total": Case(
        lambda parameter="a", other="b", constant=1.0: Tie.total(parameter, other, constant=constant),
        {},
        {"parameter": TEXT, "other": TEXT, "constant": NUMBER},
    ),
    "Prior": Case(
        lambda **given: FusedObjective([SYSTEM], forcefield(), [ENERGY], priors=Prior(**given)),
        {"parameters": "bond_lengths", "width": 1.0},
        {"parameters": set(), "width": NUMBER, "center": OPTIONAL | NUMBER},
        {"parameters": "prior"},
    ),
    "estimate_force_constants": Case(
        estimate_force_constants,
        {"systems": [SYSTEM], "forcefield": forcefield()},
        {"systems": set(), "forcefield": set(), "scaling": NUMBER, "transition_state": TRUTH},
    ),
    "validate": Case(
        validate,
        {"systems": [SYSTEM], "forcefield": forcefield()},
        {"systems": set(), "forcefield": set(), "batch_size": OPTIONAL | COUNT},
    ),
    "prepare": Case(
        prepare,
        {"molecules": [WATER]},
        {
            "molecules": set(),
            "form": OPTIONAL | TEXT,
            "forcefield": OPTIONAL,
            "active": OPTIONAL,
            "priors": OPTIONAL,
            "displacement": OPTIONAL | NUMBER,
            "stiffness": OPTIONAL | NUMBER,
            "couplings": TRUTH,
        },
    ),
    "fit": Case(
        fit,
        {"molecules": [WATER]},
        {
            "molecules": set(),
            "form": OPTIONAL | TEXT,
            "refine": OPTIONAL,
            "maxiter": COUNT,
            "progress": OPTIONAL | {"a class", "a function"},
            "checkpoint": OPTIONAL | TEXT,
            "resume": OPTIONAL | TEXT,
        },
    ),
    "cross_validate": Case(
        cross_validate,
        {"problem": prepare([WATER])},
        {
            "problem": set(),
            "folds": OPTIONAL,
            "seed": COUNT,
            "progress": OPTIONAL | {"a class", "a function"},
        },
    ),
    "relax_systems": Case(
        relax_systems,
        {"systems": [SYSTEM], "forcefield": forcefield()},
        {
            "systems": set(),
            "forcefield": set(),
            "n_maximized": COUNT,
            "largest_gradient": NUMBER,
            "max_steps": COUNT,
            "farthest": NUMBER,
            "batch_size": OPTIONAL | COUNT,
        },
    ),
    "frequencies": Case(
        frequencies,
        {"systems": [SYSTEM], "forcefield": forcefield()},
        {"systems": set(), "forcefield": set(), "batch_size": OPTIONAL | COUNT},
    ),
    "keep_compiled": Case(keep_compiled, {}, {"folder": OPTIONAL | PATH}),
}

OF_FILES = {
    "Checkpoint": Case(
        Checkpoint,
        {"fingerprint": "f", "method": "m", "x": X0, "fun": 1.0},
        {"fingerprint": TEXT, "method": TEXT, "x": set(), "fun": NUMBER | {"NaN"}, "arrays": {"a dictionary"}},
    ),
    "Checkpointer": Case(
        Checkpointer,
        {"path": "x"},
        {"path": PATH, "every": NUMBER, "clock": {"a class", "a function"}, "replaces": OPTIONAL | TEXT},
    ),
    "load_checkpoint": Case(load_checkpoint, {"path": "x"}, {"path": PATH, "fingerprint": OPTIONAL | TEXT}),
    "save_checkpoint": Case(save_checkpoint, {"path": "x", "checkpoint": POINT}, {"path": PATH, "checkpoint": set()}),
    "check_writable": Case(check_writable, {"path": "x"}, {"path": PATH}),
    "replace_file": Case(replace_file, {"path": "x", "content": b""}, {"path": PATH, "content": {"bytes"}}),
    "read_forcefield": Case(read_forcefield, {"path": "x"}, {"path": PATH}),
    "forcefield_text": Case(forcefield_text, {"forcefield": forcefield()}, {"forcefield": set()}, skipped=("systems",)),
    "write_forcefield": Case(
        write_forcefield,
        {"path": "x.json", "forcefield": forcefield()},
        {"path": PATH, "forcefield": set(), "systems": set(), "template": OPTIONAL},
        skipped=("systems",),
    ),
    "write_json": Case(write_json, {"path": "x", "content": {}}, {"path": PATH}, skipped=("content",)),
    "write_table": Case(write_table, {"path": "x", "header": [], "rows": []}, {"path": PATH}, skipped=("header", "rows")),
}

OF_DATA = {
    name: Case(function, {}, {argument: set()}, {argument: "data set"})
    for name, function, argument in (
        ("load_molecule", load_molecule, "name"),
        ("published_frequencies", published_frequencies, "name"),
        ("provenance", provenance, "name"),
    )
} | {
    "load_problem": Case(load_problem, {"name": "water"}, {"name": set(), "form": set()}, {"name": "problem"}),
    "load_rh_enamide": Case(load_rh_enamide, {}, {"form": set()}),
}

OF_MODEL = {
    "ForceField": Case(
        ForceField,
        {"form": "harmonic"},
        {
            "form": TEXT,
            **{name: set() for name in parameter_fields()},
            "torsion_periodicities": OPTIONAL,
            "torsion_phases": OPTIONAL,
            "labels": OPTIONAL,
            "limits": OPTIONAL | {"a dictionary"},
        },
        skipped=("arrays",),
    ),
    "ForceField.positions": Case(forcefield().positions, {"kind": "bond"}, {"kind": set()}),
    "ForceField.each": Case(forcefield().each, {}, {}, skipped=("what",)),
    "ForceField.with_parameters": Case(forcefield().with_parameters, {"parameters": X0}, {"parameters": set()}),
    "ForceField.n_types": Case(forcefield().n_types, {"kind": "bond"}, {"kind": set()}),
    "System": Case(
        System,
        {"molecule": WATER},
        {
            "molecule": set(),
            **{f"{kind}_{what}": {"an empty row"} for kind in term_kinds() for what in ("atoms", "types")},
            "vdw_pairs": {"an empty row"},
            "vdw_types": {"an empty row"},
            "vdw_factors": {"an empty row"},
            "background": OPTIONAL,
            "origin": OPTIONAL,
        },
        skipped=("arrays",),
    ),
    "System.terms": Case(SYSTEM.terms, {"kind": "bond"}, {"kind": set()}),
    "System.pairs": Case(SYSTEM.pairs, {"kind": "vdw"}, {"kind": set()}),
    "System.linked_types": Case(SYSTEM.linked_types, {}, {}, skipped=("kind", "read")),
    "System.without": Case(SYSTEM.without, {}, {}, skipped=("left_out",)),
    "System.with_background": Case(SYSTEM.with_background, {}, {"background": OPTIONAL}),
    "Background": Case(
        Background,
        {"energy": 0.0, "gradient": np.zeros((3, 3)), "hessian": np.zeros((9, 9))},
        {"energy": NUMBER, "gradient": set(), "hessian": set()},
    ),
    "register_kind": Case(
        register_kind,
        {"kind": PairKind("new", (Parameter("new_depths", "depth", "kcal/mol", (0.0, 1.0), 0.1),)), "energy": min},
        {"kind": set(), "energy": {"a class", "a function"}},
        {"kind": "register_kind"},
    ),
    "perceive": Case(
        perceive,
        {"molecules": [WATER]},
        {
            "molecules": set(),
            "form": TEXT,
            "by": set(),
            "bond_tolerance": NUMBER,
            "periodicities": set(),
            **{name: TRUTH for name in ("torsions", "impropers", "vdw", "urey_bradley", "stiff_torsions")},
            **{name: TRUTH for name in ("stretch_stretch", "stretch_bend", "bend_bend")},
            "angle_gap": OPTIONAL | NUMBER,
            "bond_gap": OPTIONAL | NUMBER,
            "margins": OPTIONAL,
            **{name: OPTIONAL | {"an empty row", "a list of None"} for name in ("bonds", "exclude")},
            "types": OPTIONAL | {"a list of None"},
        },
        {"bond_tolerance": "bond tolerance"},
    ),
    "from_openmm": Case(
        from_openmm,
        {"system": water_of_openmm(), "molecules": WATER},
        {
            "system": set(),
            "molecules": set(),
            "topology": OPTIONAL,
            "fit": set(),
            "types": set(),
        },
    ),
    "to_openmm": Case(
        to_openmm, {"systems": SYSTEM, "forcefield": forcefield()}, {"systems": {"an empty row"}, "forcefield": set()}
    ),
    "register_form": Case(
        register_form,
        {"name": "new", "bond": abs},
        {
            "name": TEXT,
            "like": set(),
            "damped_torsions": {"None", *TRUTH},
            **{name: {"a class", "a function"} for name in ("bond", "vdw", "combine_radii")},
        },
        {"like": "form"},
    ),
}

ELSEWHERE = {"Reference", "ReferenceData", "match_frequencies"} | {
    *("Constant", "Coordinate", "Kind", "PairKind", "Parameter", "Read")
}
"""Tested with references; and declarations, which are checked when they are registered."""
WITHOUT_ARGUMENTS = {
    "Comparison",
    "CrossValidation",
    "Fit",
    "FitProblem",
    "OpenMMModel",
    "Status",
    "Uncertainty",
    "Validation",
}
"""And what only this package makes."""

TABLE = {
    **AT_THE_TOP,
    **{f"FusedObjective.{name}": case for name, case in OF_OBJECTIVES.items()},
    **{f"EngineObjective.{name}": case for name, case in OF_ENGINES.items()},
    **OF_FILES,
    **OF_DATA,
    **OF_MODEL,
}
ARGUMENTS = [(name, argument) for name, case in TABLE.items() for argument in case.may_be]


def refusal(call, argument, word):
    """None where a call is refused as it should be; else what it does instead."""
    try:
        call()
    except Q2MMAccelError as error:
        return None if word in str(error) else f"{argument} is not named: {error}"
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=[f"{name}({argument})" for name, argument in ARGUMENTS])
def test_a_wrong_type_is_refused_by_the_name_of_its_argument(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case, found = TABLE[name], {}
    for what in WRONG.keys() - case.may_be[argument]:
        arguments = case.given | {argument: WRONG[what]}
        found[what] = refusal(lambda given=arguments: case.call(**given), argument, case.named.get(argument, argument))
    assert {what: fault for what, fault in found.items() if fault} == {}
    assert not list(tmp_path.iterdir()), "something was written"


@pytest.mark.parametrize("name", [name for name, case in TABLE.items() if "path" in case.may_be])
def test_a_path_that_no_file_can_have_is_refused(name):
    case = TABLE[name]
    assert refusal(lambda: case.call(**case.given | {"path": "x\0y"}), "path", "path is 'x") is None


def methods_of(kind):
    return {
        f"{kind.__name__}.{name}": getattr(kind, name)
        for name, member in vars(kind).items()
        if not name.startswith("_") and isinstance(member, FunctionType | classmethod)
    }


def arguments_of(function):
    """Names of what can be passed, but for options passed on."""
    parameters = inspect.signature(function).parameters
    return [
        name
        for name, parameter in parameters.items()
        if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


def test_the_table_holds_every_public_name_and_argument():
    public = {name: getattr(q2mm_accel, name) for name in q2mm_accel.__all__ if name not in ELSEWHERE | WITHOUT_ARGUMENTS}
    for kind in [value for value in public.values() if inspect.isclass(value)]:
        public |= methods_of(kind)
    files = (checkpoint, results)
    public |= {name: getattr(module, name) for module in files for name in vars(module) if is_own(name, module)}
    known = TABLE
    for name, function in public.items():
        wanted = set(arguments_of(function))
        if wanted:
            assert name in known, name
            assert wanted <= {*known[name].may_be, *known[name].skipped}, name
    assert {field.name for field in fields(Options)} <= set(TABLE["FusedObjective.solve_native"].may_be)


def is_own(name, module):
    """Whether a module defines a public function or class of this name, and users may call it with things of their own."""
    value = getattr(module, name)
    return not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and name != "fingerprint"

"""What the kernel computes for single molecules, problems with chosen padding, and how often functions are traced."""

from collections import Counter
from dataclasses import dataclass, replace

import jax
import numpy as np

from q2mm_accel import ForceField, Reference, System
from q2mm_accel.kernel import hessian as kernel
from q2mm_accel.kernel.loss import expand
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Problem
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.checks import check_terms
from q2mm_accel.problem.layout import Stack, plan_stacks
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

_COUNTED = {"loss", "predictions", "residuals", "turned_jacobian", "gauss_newton", "hessian_product", "native"}
traces: Counter[str] = Counter()
"""How often each of the package's compiled functions was traced, which is how often it was compiled."""


def _count(event: str, duration: float, fun_name: str = "", **_) -> None:
    if event == "/jax/core/compile/jaxpr_trace_duration" and fun_name in _COUNTED:
        traces[fun_name] += 1


jax.monitoring.register_event_duration_secs_listener(_count)


@dataclass(frozen=True)
class Evaluation:
    """Energy [kcal/mol], gradient (n, 3) [kcal/mol/Å], Hessian (3n, 3n) [kcal/mol/Å²], frequencies (3n,) [cm⁻¹]."""

    energy: float
    gradient: np.ndarray
    hessian: np.ndarray
    frequencies: np.ndarray


@jax.jit
def _evaluated(problem, vector):
    (batch,) = (jax.tree.map(lambda leaf: leaf[0], stack) for stack in problem.stacks)
    parameters = expand(problem, vector)
    functions = (kernel.energies, kernel.gradients, kernel.hessians)
    return tuple(function(batch, parameters)[0] for function in functions)


def problem_of(systems, forcefield: ForceField, references=None, *, plan=None, fill=0.0, space=None, **options):
    """The arrays of a problem; every energy is a reference unless others are given.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        references: the references.
        plan: the systems of each bucket of a single batch; by default that of `plan_stacks`.
        fill: what padded floating-point entries hold.
        space: what the vector is; all parameters by default.
        options: n_devices and batch_size of `plan_stacks`, others of `build_problem`.
    """
    references = references or [Reference("energy", 0.0, system=number) for number in range(len(systems))]
    check_terms(systems, forcefield)
    sizes = [system.molecule.n_atoms for system in systems]
    how = {name: options.pop(name) for name in ("n_devices", "batch_size") if name in options}
    stacks = plan_stacks(sizes, **how) if plan is None else [stack_of(sizes, plan)]
    space = parameter_space(forcefield) if space is None else space
    return poisoned(build_problem(systems, space, references, stacks, **options), fill)


def stack_of(sizes, plan) -> Stack:
    """A single batch with the buckets of a plan."""
    shapes = tuple((layout.quantised(len(members)), max(sizes[member] for member in members)) for members in plan)
    return Stack(shapes, (tuple(map(tuple, plan)),))


def poisoned(problem: Problem, fill) -> Problem:
    """A problem whose padded floating-point entries hold something else."""

    def filled(leaf, present):
        if leaf.dtype.kind != "f":
            return leaf
        return np.where(present.reshape(present.shape + (1,) * (leaf.ndim - present.ndim)), leaf, fill)

    def of_terms(terms):
        return jax.tree.map(lambda leaf: filled(leaf, terms.present), terms)

    def of_geometry(geometry):
        if geometry is None:
            return None
        both = geometry.atom_present[..., :, None] & geometry.atom_present[..., None, :]
        direction = np.moveaxis(filled(np.moveaxis(geometry.direction, -3, -1), both), -1, -3)
        return replace(geometry, distance=filled(geometry.distance, both), direction=direction)

    def of_pairs(pairs):
        return pairs if pairs.factors is None else replace(pairs, factors=filled(pairs.factors, pairs.present))

    def of_columns(columns):
        if columns is None:
            return None
        pairs = {kind: replace(own, factors=filled(own.factors, own.columns >= 0)) for kind, own in columns.pairs.items()}
        return replace(columns, pairs=pairs)

    def of_bucket(bucket):
        masses = filled(bucket.inverse_root_masses, bucket.component_present)
        pairs = {kind: of_pairs(each) for kind, each in bucket.pairs.items()}
        changed = {"geometry": of_geometry(bucket.geometry), "pairs": pairs, "columns": of_columns(bucket.columns)}
        if bucket.coordinates is not None:
            changed["coordinates"] = filled(bucket.coordinates, bucket.component_present)
        return replace(bucket, inverse_root_masses=masses, **changed)

    def of_rows(rows):
        return jax.tree.map(lambda leaf: filled(leaf, rows.present), rows)

    def of_stack(stack):
        return replace(
            stack,
            terms={kind: of_terms(terms) for kind, terms in stack.terms.items()},
            uses={kind: replace(uses, factor=filled(uses.factor, uses.element >= 0)) for kind, uses in stack.uses.items()},
            buckets=tuple(map(of_bucket, stack.buckets)),
        )

    return replace(
        problem,
        stacks=tuple(map(of_stack, problem.stacks)),
        relaxing=tuple(replace(each, batch=of_stack(each.batch)) for each in problem.relaxing),
        references=of_rows(problem.references),
        priors=of_rows(problem.priors),
    )


def evaluate_all(systems: list[System], forcefield: ForceField) -> list[Evaluation]:
    """Evaluate many systems in one program."""
    problem = problem_of(systems, forcefield, plan=[list(range(len(systems)))])
    results = [np.asarray(array) for array in _evaluated(problem, forcefield.parameters)]
    return [_evaluation(system, *(array[row] for array in results)) for row, system in enumerate(systems)]


def evaluate(system: System, forcefield: ForceField) -> Evaluation:
    """Evaluate one system."""
    return evaluate_all([system], forcefield)[0]


def _evaluation(system, energy, gradient, hessian) -> Evaluation:
    n, padded = system.molecule.n_atoms, len(gradient) // 3
    gradient = gradient.reshape(3, padded)[:, :n].T
    hessian = hessian.reshape(3, padded, 3, padded)[:, :n, :, :n].transpose(1, 0, 3, 2).reshape(3 * n, 3 * n)
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    values = np.linalg.eigvalsh(hessian * KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale))
    return Evaluation(float(energy), gradient, hessian, FREQUENCY_FACTOR * np.sign(values) * np.sqrt(np.abs(values)))

"""The way every peer computes the gradient: `jax.value_and_grad` through `jax.hessian` of a molecule's whole energy.

One compiled function per molecule, in float64 or, as far as it goes, in float32. This is the comparison of the benchmark,
not a second implementation: nothing else uses it.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, Form, Kind, PairKind, form_named
from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.units import DEGREE, FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU


def distances(x, atoms):
    """Of pairs of atoms (n, 2), from coordinates (n_atoms, 3)."""
    return jnp.sqrt(jnp.sum((x[atoms[:, 0]] - x[atoms[:, 1]]) ** 2, axis=1))


def angles(x, atoms):
    """[rad] at the second of three atoms (n, 3), from coordinates (n_atoms, 3)."""
    first, second = x[atoms[:, 0]] - x[atoms[:, 1]], x[atoms[:, 2]] - x[atoms[:, 1]]
    cross = jnp.cross(first, second)
    return jnp.arctan2(jnp.sqrt(jnp.sum(cross**2, axis=1)), jnp.sum(first * second, axis=1))


def _dihedral(x, atoms):
    first, axis, last = (x[atoms[:, i + 1]] - x[atoms[:, i]] for i in range(3))
    normal = jnp.cross(axis, last)
    sine = jnp.sqrt(jnp.sum(axis**2, axis=1)) * jnp.sum(first * normal, axis=1)
    return jnp.arctan2(sine, jnp.sum(jnp.cross(first, axis) * normal, axis=1))


_MEASURES = {"distance": distances, "angle": angles, "dihedral": _dihedral}


def energy(system: System, forcefield: ForceField, parameters, x):
    """The energy of one molecule [kcal/mol], term by term in plain JAX.

    Args:
        system: the molecule with its terms, of kinds that read no parameters of others.
        forcefield: the force field.
        parameters: shape (n_parameters,).
        x: shape (n_atoms, 3) [Å].

    Returns:
        A scalar.
    """
    form, start, total = form_named(forcefield.form), 0, 0.0
    for name, kind in KINDS.items():
        width = len(kind.parameters)
        block = parameters[start : start + width * forcefield.n_types(name)].reshape(-1, width)
        start += block.size
        if not block.size:
            continue
        if isinstance(kind, Kind):
            total += jnp.sum(_terms(form, kind, system, forcefield, block, x))
        else:
            total += jnp.sum(_pairs(form, kind, system, block, x))
    return total


def _terms(form: Form, kind: Kind, system: System, forcefield: ForceField, block, x):
    assert not kind.reads, f"terms of the kind {kind.name} read parameters of others"
    assert kind.name not in form.coordinates, f"the form has other coordinates for the kind {kind.name}"
    atoms, types = system.terms(kind.name)
    constants = [getattr(forcefield, each.field) * (DEGREE if each.unit == "degrees" else 1.0) for each in kind.constants]
    own = [block[types, place] * (DEGREE if each.unit == "degrees" else 1.0) for place, each in enumerate(kind.parameters)]
    seen = []
    for each in form.coordinates_of(kind):
        value = _MEASURES[each.measure](x, atoms[:, list(each.atoms)])
        if each.equilibrium is not None:
            value = value - own[each.equilibrium]
            if each.measure == "dihedral":
                value = value - 2.0 * jnp.pi * jnp.round(value / (2.0 * jnp.pi))
        seen.append(value)
    return form.energies[kind.name](*seen, *own, *(each.astype(x.dtype)[types] for each in constants))


def _pairs(form: Form, kind: PairKind, system: System, block, x):
    pairs, types, factors = system.pairs(kind.name)
    first, second = (block[types[pairs[:, place]]] for place in range(2))
    combined = [form.combinations[field](first[:, i], second[:, i]) for i, field in enumerate(kind.fields)]
    return factors.astype(x.dtype) * form.energies[kind.name](distances(x, pairs), *combined)


def baseline(systems: Sequence[System], forcefield: ForceField, references: Iterable[Reference]):
    """Loss and gradient of a frequency fit, molecule by molecule, in float64.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        references: frequencies.

    Returns:
        Function of a parameter vector (n,) that returns the loss and its gradient (n,).
    """
    evaluate = with_spectra(systems, forcefield, references, np.float64)
    return lambda parameters: evaluate(parameters)[1:]


def with_spectra(systems: Sequence[System], forcefield: ForceField, references: Iterable[Reference], dtype: type):
    """As `baseline`, with the frequencies of all modes, everything after the precomputed constants in one dtype.

    Args:
        systems: M molecules with their terms.
        forcefield: the force field.
        references: frequencies.
        dtype: `np.float64` or `np.float32`.

    Returns:
        Function of a parameter vector (n,) that returns the molecules' frequencies one after another, (sum of all 3N,)
        [cm⁻¹], the loss, and its gradient (n,); NaN where a molecule is exactly linear, which has no derivatives.
    """
    table = ReferenceData(references).table
    functions = [
        _molecule(system, forcefield, table.take(table.system == number), dtype) for number, system in enumerate(systems)
    ]

    def evaluate(parameters):
        results = [jax.block_until_ready(function(parameters)) for function in functions]
        spectra = np.concatenate([np.asarray(spectrum, dtype=np.float64) for (_, spectrum), _ in results])
        gradients = [np.asarray(gradient, dtype=np.float64) for _, gradient in results]
        return spectra, sum(float(value) for (value, _), _ in results), np.sum(gradients, axis=0)

    return evaluate


def _molecule(system: System, forcefield: ForceField, references: ReferenceTable, dtype: type):
    modes = references.indices[:, 0]
    values, weights = references.value.astype(dtype), references.weight.astype(dtype)
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    to_weighted = (KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale)).astype(dtype)
    coordinates = system.molecule.coordinates.reshape(-1).astype(dtype)

    def loss(parameters):
        parameters = parameters.astype(dtype)
        hessian = jax.hessian(lambda x: energy(system, forcefield, parameters, x.reshape(-1, 3)))(coordinates)
        eigenvalues, _ = jnp.linalg.eigh(hessian * to_weighted)
        computed = FREQUENCY_FACTOR * jnp.sign(eigenvalues) * jnp.sqrt(jnp.abs(eigenvalues))
        return jnp.sum((weights * (values - computed[modes])) ** 2), computed

    return jax.jit(jax.value_and_grad(loss, has_aux=True))

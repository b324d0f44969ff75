"""The way every peer computes the gradient: `jax.value_and_grad` through `jax.hessian` of a molecule's whole energy.

One compiled function per molecule, in float64 or, as far as it goes, in float32. This is the comparison of the benchmark,
not a second implementation: nothing else uses it.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, Form, form_named
from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.units import DEGREE, FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU


def _distance(x, atoms):
    return jnp.sqrt(jnp.sum((x[atoms[:, 0]] - x[atoms[:, 1]]) ** 2, axis=1))


def _angle(x, atoms):
    first, second = x[atoms[:, 0]] - x[atoms[:, 1]], x[atoms[:, 2]] - x[atoms[:, 1]]
    cross = jnp.cross(first, second)
    return jnp.arctan2(jnp.sqrt(jnp.sum(cross**2, axis=1)), jnp.sum(first * second, axis=1))


def _dihedral(x, atoms):
    first, axis, last = (x[atoms[:, i + 1]] - x[atoms[:, i]] for i in range(3))
    normal = jnp.cross(axis, last)
    sine = jnp.sqrt(jnp.sum(axis**2, axis=1)) * jnp.sum(first * normal, axis=1)
    return jnp.arctan2(sine, jnp.sum(jnp.cross(first, axis) * normal, axis=1))


def _split(forcefield: ForceField, parameters):
    blocks, start = {}, 0
    for kind, declared in KINDS.items():
        width = len(declared.parameters)
        stop = start + width * forcefield.n_types(kind)
        blocks[kind] = parameters[start:stop].reshape(-1, width)
        start = stop
    return blocks


def _energy(form: Form, system: System, forcefield: ForceField, parameters, x):
    blocks, total = _split(forcefield, parameters), 0.0
    for kind, potential in (("bond", form.energies["bond"]), ("urey_bradley", form.energies["urey_bradley"])):
        k, equilibrium = blocks[kind][system.terms(kind)[1]].T
        total += jnp.sum(potential(_distance(x, system.terms(kind)[0]) - equilibrium, k, equilibrium))
    k, equilibrium = blocks["angle"][system.angle_types].T
    equilibrium = equilibrium * DEGREE
    total += jnp.sum(form.energies["angle"](_angle(x, system.angle_atoms) - equilibrium, k, equilibrium))
    k = blocks["torsion"][system.torsion_types, 0]
    fixed = (each.astype(x.dtype) for each in (forcefield.torsion_periodicities, forcefield.torsion_phases * DEGREE))
    total += jnp.sum(
        form.energies["torsion"](_dihedral(x, system.torsion_atoms), k, *(f[system.torsion_types] for f in fixed))
    )
    if len(system.vdw_pairs):
        first, second = (blocks["vdw"][system.vdw_types[system.vdw_pairs[:, i]]] for i in range(2))
        radius = form.combinations["vdw_radii"](first[:, 0], second[:, 0])
        total += jnp.sum(form.energies["vdw"](_distance(x, system.vdw_pairs), radius, jnp.sqrt(first[:, 1] * second[:, 1])))
    return total


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
    form = form_named(forcefield.form)
    modes = references.indices[:, 0]
    values, weights = references.value.astype(dtype), references.weight.astype(dtype)
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    to_weighted = (KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale)).astype(dtype)
    coordinates = system.molecule.coordinates.reshape(-1).astype(dtype)

    def loss(parameters):
        parameters = parameters.astype(dtype)
        hessian = jax.hessian(lambda x: _energy(form, system, forcefield, parameters, x.reshape(-1, 3)))(coordinates)
        eigenvalues, _ = jnp.linalg.eigh(hessian * to_weighted)
        computed = FREQUENCY_FACTOR * jnp.sign(eigenvalues) * jnp.sqrt(jnp.abs(eigenvalues))
        return jnp.sum((weights * (values - computed[modes])) ** 2), computed

    return jax.jit(jax.value_and_grad(loss, has_aux=True))

"""The way every peer computes the gradient: `jax.value_and_grad` through `jax.hessian` of a molecule's whole energy.

One compiled function per molecule. This is the comparison of the benchmark, not a second implementation: nothing else
uses it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from q2mm_accel.kernel.potentials import Form, form_named
from q2mm_accel.model.forcefield import BLOCKS, ForceField
from q2mm_accel.model.references import Reference
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
    for kind, names in BLOCKS.items():
        stop = start + len(names) * forcefield.n_types(kind)
        blocks[kind] = parameters[start:stop].reshape(-1, len(names))
        start = stop
    return blocks


def _energy(form: Form, system: System, forcefield: ForceField, parameters, x):
    blocks, total = _split(forcefield, parameters), 0.0
    for kind, potential in (("bond", form.bond), ("urey_bradley", form.urey_bradley)):
        k, equilibrium = blocks[kind][system.terms(kind)[1]].T
        total += jnp.sum(potential(_distance(x, system.terms(kind)[0]) - equilibrium, k, equilibrium))
    k, equilibrium = blocks["angle"][system.angle_types].T
    equilibrium = equilibrium * DEGREE
    total += jnp.sum(form.angle(_angle(x, system.angle_atoms) - equilibrium, k, equilibrium))
    k = blocks["torsion"][system.torsion_types, 0]
    fixed = (forcefield.torsion_periodicities, forcefield.torsion_phases * DEGREE)
    total += jnp.sum(form.torsion(_dihedral(x, system.torsion_atoms), k, *(f[system.torsion_types] for f in fixed)))
    if len(system.vdw_pairs):
        first, second = (blocks["vdw"][system.vdw_types[system.vdw_pairs[:, i]]] for i in range(2))
        radius = form.combine_radii(first[:, 0], second[:, 0])
        total += jnp.sum(form.vdw(_distance(x, system.vdw_pairs), radius, jnp.sqrt(first[:, 1] * second[:, 1])))
    return total


def baseline(systems: Sequence[System], forcefield: ForceField, references: Sequence[Reference]):
    """Loss and gradient of a frequency fit, molecule by molecule.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        references: frequencies.

    Returns:
        Function of a parameter vector (n,) that returns the loss and its gradient (n,).
    """
    functions = [
        _molecule(system, forcefield, [reference for reference in references if reference.system == number])
        for number, system in enumerate(systems)
    ]

    def value_and_gradient(parameters):
        results = [jax.block_until_ready(function(parameters)) for function in functions]
        return sum(float(value) for value, _ in results), np.sum([np.asarray(g) for _, g in results], axis=0)

    return value_and_gradient


def _molecule(system: System, forcefield: ForceField, references: Sequence[Reference]):
    form = form_named(forcefield.form)
    modes = np.array([reference.index for reference in references])
    values = np.array([reference.value for reference in references])
    weights = np.array([reference.weight for reference in references])
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    coordinates = system.molecule.coordinates.reshape(-1)

    def loss(parameters):
        hessian = jax.hessian(lambda x: _energy(form, system, forcefield, parameters, x.reshape(-1, 3)))(coordinates)
        eigenvalues, _ = jnp.linalg.eigh(hessian * KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale))
        chosen = eigenvalues[modes]
        computed = FREQUENCY_FACTOR * jnp.sign(chosen) * jnp.sqrt(jnp.abs(chosen))
        return jnp.sum((weights * (values - computed)) ** 2)

    return jax.jit(jax.value_and_grad(loss))

"""Spectra of a force field at the QM geometries."""

from collections.abc import Iterable

import numpy as np

from q2mm_accel.devices import check_batch_size
from q2mm_accel.errors import NonFiniteError, ParameterError, TopologyError
from q2mm_accel.model.arguments import as_tuple, instance
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.objective import predictions
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.checks import check_terms
from q2mm_accel.problem.layout import plan_stacks
from q2mm_accel.runtime import exclusive_eigh, require


def frequencies(systems: Iterable[System], forcefield: ForceField, batch_size: int | None = None) -> list[np.ndarray]:
    """Harmonic frequencies of the force field at the QM geometries, the full sorted lists with rigid motions.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field; its parameters may lie outside the bounds of a fit.
        batch_size: how many molecules are evaluated at a time, to save memory; all by default.

    Returns:
        One array (3 n_atoms,) [cm⁻¹] per system, ascending; imaginary frequencies are negative.

    Example:
        Two atoms and a spring, E = k (r - r0)²: the square of the angular frequency is 2 k over the reduced mass.

        >>> from q2mm_accel import ForceField, Molecule, System, frequencies
        >>> pair = Molecule(["H", "F"], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.92]], masses=[1.008, 18.998])
        >>> system = System(pair, bond_atoms=[[0, 1]], bond_types=[0])
        >>> field = ForceField(form="harmonic", bond_force_constants=[600.0], bond_lengths=[0.92])
        >>> round(float(frequencies([system], field)[0][-1]))
        3845
        >>> reduced_mass = 1.008 * 18.998 / (1.008 + 18.998)  # u
        >>> round((2.0 * 600.0 * 4184.0 / reduced_mass * 1e23) ** 0.5 / (2.0 * 3.14159265 * 2.99792458e10))
        3845

    Raises:
        FormError: unknown functional form.
        ParameterError: no force field.
        OptionError: a batch_size below 1.
        PrecisionError: JAX's 64-bit mode is off.
        TopologyError: a term or type that does not exist or is undefined.
        NonFiniteError: a frequency is not finite.
    """
    require("float64", remedy="")
    check_batch_size(batch_size)
    form_named(instance(forcefield, ForceField, "forcefield", ParameterError).form)
    systems, references = as_tuple(systems, System, "systems", TopologyError), ReferenceData()
    if not systems:
        return []
    for number, system in enumerate(systems):
        references.add_frequencies(np.zeros(3 * system.molecule.n_atoms), system=number)
    check_terms(systems, forcefield)
    stacks = plan_stacks([system.molecule.n_atoms for system in systems], batch_size=batch_size)
    problem = build_problem(systems, parameter_space(forcefield), references, stacks)
    with exclusive_eigh():
        values = np.array(predictions(problem, forcefield.parameters))
    ends = np.cumsum([3 * system.molecule.n_atoms for system in systems])
    spectra = np.split(values[: ends[-1]], ends[:-1])
    for system, spectrum in zip(systems, spectra, strict=True):
        if not np.all(np.isfinite(spectrum)):
            values = forcefield.parameters
            suspects = [f"{forcefield.labels[i]} = {values[i]:.6g}" for i in forcefield.unphysical()]
            raise NonFiniteError(
                f"{system.molecule.name}: its frequencies are not finite. Parameters that make no sense: "
                f"{', '.join(suspects) or 'none'}. Correct the force field."
            )
    return spectra

"""What is refused or warned of before a problem is built, and what is said where its loss is not finite.

Everything here runs on the host, once for each objective.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds

from q2mm_accel.errors import (
    LinearAngleWarning,
    NonFiniteError,
    OptionError,
    PrecisionError,
    ReferenceDataError,
    TopologyError,
    UnusedParameterWarning,
    warn_user,
)
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Coordinate, Form, Kind, form_named, term_kinds
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.reference_table import Reference, ReferenceTable
from q2mm_accel.model.system import System
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.problem.arrays import OUTPUTS
from q2mm_accel.problem.batch import PARALLEL, inner_sines
from q2mm_accel.problem.internal import NEARLY_LINEAR
from q2mm_accel.problem.reads import OUTPUT_OF, output_codes
from q2mm_accel.problem.relaxable import check_float64, check_relaxed

_RESOLUTION = {
    **{kind: (1e-3, "kcal/mol") for kind in ("energy", "relative_energy")},
    "frequency": (1e-2, "cm⁻¹"),
    **{kind: (1e-5, "hartree/bohr²") for kind in ("hessian_element", "eig_diagonal", "eig_offdiagonal")},
    "force": (0.01, "kcal/mol/Å"),
    "normal_mode": (0.01, "cm⁻¹"),
    "mode_displacement": (1e-5, "Å u^1/2"),
}
"""Distance of neighbouring float32 numbers at a reference value above which they are too far apart, by kind."""
_LEAST_WEIGHT = 1e-16
"""Of a reference, so that its square and what it is multiplied with stay within float32's range of 1e-38 to 1e38."""
_SOFT = 10.0
"""[cm⁻¹] Modes below are rigid motions or almost: rounding of 1e-7 of the largest eigenvalue moves them by up to 1 cm⁻¹."""
_TURNED = 20.0
"""[cm⁻¹] Frequencies of opposite sign that differ by more are no rounding: one is imaginary."""
_ABSENT = {
    "torsion_angle": ", one of whose inner angles is straight at the force field's own minimum",
    "bond_angle": ", which is 0 degrees at the force field's own minimum",
    "relaxed_frequency": ", a vibration that the molecule, linear in QM, has no longer at the force field's own minimum",
}
"""Why a reference to a molecule that has relaxed may have no value."""

LOSSES = ("linear", "soft_l1", "huber", "cauchy", "arctan")
"""Names of the losses of references."""


def check_terms(systems: Sequence[System], forcefield: ForceField) -> None:
    """Check that every term has a type of the force field and a coordinate with derivatives.

    Raises:
        TopologyError: one has not.

    Warns:
        LinearAngleWarning: a straight angle has another equilibrium than 180 degrees.
    """
    _check_types(systems, forcefield)
    form = form_named(forcefield.form)
    for system in systems:
        for kind in system.kinds.values():
            _check_coordinates(system, kind, form, forcefield)


def _check_types(systems: Sequence[System], forcefield: ForceField) -> None:
    for system in systems:
        kinds = {kind: system.terms(kind)[1] for kind in system.kinds}
        kinds |= {kind: system.pairs(kind).types for kind in system.pair_kinds}
        for kind, types in kinds.items():
            count = forcefield.n_types(kind)
            if len(types) and types.max() >= count:
                term = int(np.argmax(types >= count))
                raise TopologyError(
                    f"{system.molecule.name}: {kind} {term} has the type {types[term]}, but the force field has {count} "
                    f"{kind} types, from 0. Add the type or correct {kind}_types."
                )
        for name, kind in system.kinds.items():
            for read in kind.reads:
                system.linked_types(name, read)


def _check_coordinates(system: System, kind: Kind, form: Form, forcefield: ForceField) -> None:
    """Check that the coordinates of a kind's terms have derivatives at the molecule's geometry."""
    for coordinate in form.coordinates_of(kind):
        points = system.molecule.coordinates[system.terms(kind.name)[0][:, list(coordinate.atoms)]]
        if coordinate.measure == "angle":
            _check_angles(system, kind, coordinate, points)
            if kind.name not in form.faded and kind.name not in form.coordinates:
                _warn_of_kinks(system, kind, coordinate, points, forcefield)
        # a form with other coordinates for a kind damps it
        if coordinate.measure == "dihedral" and kind.name not in form.coordinates:
            _check_dihedrals(system, kind, points)


def _sine_and_cosine(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the angles at the second of three points each, shape (n, 3, 3)."""
    first, second = points[:, 0] - points[:, 1], points[:, 2] - points[:, 1]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.linalg.norm(np.cross(first, second), axis=1) / lengths, (first * second).sum(axis=1) / lengths


def _check_angles(system: System, kind: Kind, coordinate: Coordinate, points: np.ndarray) -> None:
    name, atoms = kind.name, system.terms(kind.name)[0][:, list(coordinate.atoms)]
    sine, cosine = _sine_and_cosine(points)
    for term in np.flatnonzero((sine < PARALLEL) & (cosine > 0.0)):
        raise TopologyError(
            f"{system.molecule.name}: {name} {term} of the atoms {atoms[term].tolist()} is 0 degrees, where "
            "it has no derivative. Remove the term or check the coordinates."
        )


def _warn_of_kinks(system: System, kind: Kind, coordinate: Coordinate, points: np.ndarray, forcefield: ForceField) -> None:
    """Warn of straight angles whose energy is not even in their supplement: it has a kink there."""
    name, atoms = kind.name, system.terms(kind.name)[0][:, list(coordinate.atoms)]
    sine, cosine = _sine_and_cosine(points)
    straight = (sine < NEARLY_LINEAR) & (cosine < 0.0)
    if len(kind.coordinates) > 1:
        # a product with another coordinate's deviation is odd in the supplement, wherever its equilibrium is
        for term in np.flatnonzero(straight):
            warn_user(
                f"{system.molecule.name}: {name} {term} has the linear angle of the atoms {atoms[term].tolist()}: its "
                "energy has a kink there, and its derivative is taken as 0. Leave the term out, or take a form that fades.",
                LinearAngleWarning,
            )
        return
    if coordinate.equilibrium is None:
        return
    values = getattr(forcefield, kind.fields[coordinate.equilibrium])[system.terms(name)[1]]
    for term in np.flatnonzero(straight & (180.0 - values > np.degrees(NEARLY_LINEAR))):
        warn_user(
            f"{system.molecule.name}: {name} {term} of the atoms {atoms[term].tolist()} is linear but its "
            f"equilibrium is {values[term]:g} degrees: the energy has a kink there, and its derivative is taken as 0. "
            "Give such angles a type of their own with an equilibrium of 180 degrees, as perceive does.",
            LinearAngleWarning,
        )


def _check_dihedrals(system: System, kind: Kind, points: np.ndarray) -> None:
    remedy = ", or register a form with damped_torsions=True" if kind.name == "torsion" else ""
    for term in np.flatnonzero(inner_sines(points) < PARALLEL):
        raise TopologyError(
            f"{system.molecule.name}: {kind.name} {term} of the atoms {system.terms(kind.name)[0][term].tolist()} passes "
            f"through a straight angle, where a dihedral is undefined. Remove the term{remedy}."
        )


def check_references(references: ReferenceTable, systems: Sequence[System]) -> None:
    """Check that every reference points to something that exists and can be computed.

    Raises:
        ReferenceDataError: it does not; or there is no reference at all, or a group of one relative energy.
    """
    if not references:
        raise ReferenceDataError("no reference has a weight above 0, so there is nothing to fit; add references.")
    for number in np.flatnonzero(_impossible(references, systems))[:1]:
        _refuse(references[int(number)], systems)
    _check_turned(references, systems)
    check_relaxed(references, systems)
    sizes = np.bincount(references.group[references.group >= 0])
    for group in np.flatnonzero(sizes == 1)[:1]:
        raise ReferenceDataError(
            f"the group {references.groups[group]!r} has a single relative energy, which a free constant always fits; "
            "use kind 'energy' or add others to the group."
        )


def _impossible(references: ReferenceTable, systems: Sequence[System]) -> np.ndarray:
    """Which references `_refuse` has something against, (R,)."""
    output = output_codes(references)
    missing = references.system >= len(systems)
    system = np.where(missing, 0, references.system)
    # a system that does not exist has no modes, and no references go without any system
    sizes = np.array([3 * system.molecule.n_atoms for system in systems] or [0])[system]
    without_hessian = np.array([system.molecule.hessian is None for system in systems] or [True])[system]
    of_modes = _is_output(output, "mode_matrix", "mode_gradient")
    for number in np.unique(references.system[of_modes & ~missing & ~without_hessian]):
        sizes[of_modes & (system == number)] = len(systems[number].molecule.normal_modes.eigenvalues)
    beyond = ~_is_output(output, "energy") & (references.indices.max(axis=1) >= sizes)
    at_rest = ~references.is_relaxed()
    return missing | (at_rest & ((output < 0) | beyond)) | (without_hessian & (of_modes | _is_output(output, "eigenmatrix")))


def _is_output(codes: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(codes, [OUTPUTS.index(name) for name in names])


def _refuse(reference: Reference, systems: Sequence[System]) -> None:
    """Say what is wrong with a reference that cannot be computed."""
    if reference.system >= len(systems):
        raise ReferenceDataError(f"{reference}: there is no system {reference.system}; there are {len(systems)}, from 0.")
    molecule = systems[reference.system].molecule
    if OUTPUT_OF[reference.kind] in ("mode_matrix", "mode_gradient"):
        _refuse_mode(reference, molecule)
    if np.max(np.asarray(reference.index)) >= 3 * molecule.n_atoms:
        raise ReferenceDataError(
            f"{reference} ({molecule.name}): index {reference.index} is out of range; {molecule.n_atoms} atoms have the "
            f"modes and matrix rows 0 to {3 * molecule.n_atoms - 1}."
        )
    raise ReferenceDataError(
        f"{reference} ({molecule.name}): an eigenmatrix element needs the eigenvectors of the QM Hessian; "
        "create the Molecule with hessian=."
    )


def _refuse_mode(reference: Reference, molecule: Molecule) -> None:
    if molecule.hessian is None:
        raise ReferenceDataError(
            f"{reference} ({molecule.name}): normal modes are those of the QM Hessian; create the Molecule with hessian=."
        )
    raise ReferenceDataError(
        f"{reference} ({molecule.name}): index {reference.index} is out of range; {molecule.n_atoms} atoms have "
        f"{len(molecule.normal_modes.eigenvalues)} vibrations, from 0."
    )


def _check_turned(references: ReferenceTable, systems: Sequence[System]) -> None:
    """Check that references to normal modes take as real what is real in the system's own molecule.

    Raises:
        ReferenceDataError: one of both is of `Molecule.as_minimum`, the other is not: the first-order frequency is wrong.
    """
    row, column = references.indices[:, :2].T
    chosen = np.flatnonzero(references.is_kind("normal_mode") & (row == column))
    for number in np.unique(references.system[chosen]).tolist():
        own = chosen[references.system[chosen] == number]
        found, values = systems[number].molecule.normal_modes.frequencies[row[own]], references.value[own]
        for place in np.flatnonzero((found * values < 0.0) & (np.abs(found - values) > _TURNED))[:1].tolist():
            raise ReferenceDataError(
                f"{references[int(own[place])]} ({systems[number].molecule.name}): its value is {values[place]:.0f} cm⁻¹, "
                f"but the system's molecule has {found[place]:.0f} there: one of them is imaginary. Give perceive and "
                "add_normal_modes the same molecule, as it is or as_minimum()."
            )


def check_resolution(references: ReferenceTable, systems: Sequence[System], precision: str) -> None:
    """Check that a precision can tell what the references ask for.

    Raises:
        PrecisionError: a reference needs more.
    """
    if precision == "float64":
        return
    check_float64(references, systems, precision)
    if precision == "float32":
        _check_backgrounds(references, systems)
    size = np.abs(references.value)
    soft = references.is_kind("frequency") & (size < _SOFT)
    extreme = (references.weight <= _LEAST_WEIGHT) | (references.weight >= 1.0 / _LEAST_WEIGHT)
    resolution = references.by_kind({kind: distance for kind, (distance, _) in _RESOLUTION.items()}, np.inf)
    coarse = np.spacing(np.minimum(size, 1e38).astype(np.float32)) > resolution
    bad = np.flatnonzero(soft | extreme | (coarse & (precision == "float32")))
    if len(bad) == 0:
        return
    number = int(bad[0])
    reference = references[number]
    name = systems[reference.system].molecule.name
    if soft[number]:
        raise PrecisionError(
            f"{reference} ({name}): {reference.value:g} cm⁻¹ is a rigid motion or almost, and a Hessian assembled in "
            f"float32 has errors of up to 1 cm⁻¹ there. Leave the reference out, or use precision='float64'."
        )
    if extreme[number]:
        raise PrecisionError(
            f"{reference} ({name}): the square of its weight is not a number of float32. Give all references weights "
            f"between {_LEAST_WEIGHT:g} and {1.0 / _LEAST_WEIGHT:g}, or use precision='float64'."
        )
    resolution, unit = _RESOLUTION[reference.kind]
    raise PrecisionError(
        f"{reference} ({name}): neighbouring float32 numbers at {reference.value:g} are further apart than "
        f"{resolution:g} {unit}. Give energies relative to a molecule of the set, or use precision='mixed'."
    )


def _check_backgrounds(references: ReferenceTable, systems: Sequence[System]) -> None:
    """Energies are sums with that of the background, which must leave float32 enough digits."""
    resolution, unit = _RESOLUTION["energy"]
    for number in np.unique(references.system[references.is_kind("energy") | references.is_kind("relative_energy")]):
        background = systems[number].background
        if background is not None and np.spacing(np.float32(min(abs(background.energy), 1e38))) > resolution:
            raise PrecisionError(
                f"{systems[number].molecule.name}: its background's energy is {background.energy:g} {unit}, where "
                f"neighbouring float32 numbers are further apart than {resolution:g}. Take a constant off both, or "
                "use precision='mixed'."
            )


def checked_f_scale(name: str, f_scale: float) -> float:
    """The scale of a robust loss.

    Raises:
        OptionError: there is no loss of that name, or the scale is not above 0.
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise OptionError(f"loss is {name!r}; choose one of {', '.join(LOSSES)}.")
    scale = float(real_array(f_scale, "f_scale", OptionError, shape=()))
    if scale <= 0.0:
        raise OptionError(f"f_scale is {f_scale}; it must be above 0, in units of weight times deviation.")
    return scale


def warn_unused(systems: Sequence[System], references: ReferenceTable, space: ParameterSpace) -> None:
    """Warn of free parameters that no term with a reference uses, nor anything tied to them: a fit leaves them as they are.

    Warns:
        UnusedParameterWarning: there are some; the message names the first.
    """
    compared = [systems[number] for number in np.unique(references.system).tolist()]
    depends = used_parameters(compared, space.forcefield)[:, None] & (space.coefficients != 0.0)
    used = np.zeros(len(space.free), dtype=bool)
    used[space.columns[depends]] = True
    unused = [label for label, real in zip(space.labels, used, strict=True) if not real]
    if unused:
        warn_user(
            f"{len(unused)} of {len(used)} parameters occur in no term of a molecule that has references, so these do not "
            f"depend on them: {', '.join(unused[:6])}{' ...' if len(unused) > 6 else ''}.",
            UnusedParameterWarning,
        )


def used_parameters(systems: Sequence[System], forcefield: ForceField, *, only_with_effect: bool = False) -> np.ndarray:
    """Whether a term uses the parameter, (n_parameters,).

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        only_with_effect: whether terms do not count as users of equilibria, their own and those they read, if all of their
            other parameters are 0: nothing depends on these.
    """
    used, values = np.zeros(forcefield.n_parameters, dtype=bool), forcefield.parameters
    for system in systems:
        for name, kind in system.kinds.items():
            own = forcefield.positions(name)[system.terms(name)[1]]
            equilibria = {coordinate.equilibrium for coordinate in kind.coordinates}
            others = [place for place in range(len(kind.parameters)) if place not in equilibria]
            used[own[:, others]] = True
            acts = (values[own[:, others]] != 0.0).any(axis=1) | (not only_with_effect) | (not others)
            used[own[acts]] = True
            for read in kind.reads:
                column = term_kinds()[read.kind].fields.index(read.field)
                used[forcefield.positions(read.kind)[system.linked_types(name, read)[acts], column]] = True
        for name in system.pair_kinds:
            pairs = system.pairs(name)
            used[forcefield.positions(name)[pairs.types[np.unique(pairs.atoms)]]] = True
    return used


def non_finite(
    what: str,
    vector: np.ndarray,
    computed: np.ndarray,
    systems: Sequence[System],
    references: ReferenceTable,
    space: ParameterSpace,
    bounds: Bounds,
    best: float | None,
) -> NonFiniteError:
    """The error that says where a loss went wrong.

    Args:
        what: what is not finite.
        vector: shape (n,), where.
        computed: shape (R,), what the force field gives for the references there.
        systems: the molecules.
        references: the references.
        space: what the vector is.
        bounds: of the vector.
        best: the lowest loss so far.

    Returns:
        The error, to be raised.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (references.weight * (references.value - computed)) ** 2
    bad = np.flatnonzero(~np.isfinite(squares)).tolist()
    names = dict.fromkeys(systems[number].molecule.name for number in references.system[bad].tolist())
    where = "no prediction; only the derivative"
    if bad:
        first = references[bad[0]]
        where = f"molecules {', '.join(names)} (first: {first}{_ABSENT.get(first.kind, '')})"
    return NonFiniteError(
        f"{what} is not finite. Affected: {where}. Parameters that make no sense or are outside their bounds: "
        f"{suspects(vector, space, bounds)}. Best loss so far: {'none yet' if best is None else f'{best:.6g}, in .best'}. "
        "Pass bounds to the optimizer, or tighten them."
    )


def suspects(vector: np.ndarray, space: ParameterSpace, bounds: Bounds) -> str:
    """Parameters that make no sense or are outside their bounds at a vector (n,), in words."""
    parameters, labels = space.expand(vector), space.forcefield.labels
    outside = space.free[(vector < bounds.lb) | (vector > bounds.ub)]
    numbers = dict.fromkeys([*space.forcefield.with_parameters(parameters).unphysical(), *outside.tolist()])
    return ", ".join(f"{labels[number]} = {parameters[number]:.6g}" for number in list(numbers)[:5]) or "none"

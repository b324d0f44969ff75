"""What a force field does by itself: whether it holds its molecules, and how they vibrate at its own minimum."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from q2mm_accel.errors import TopologyError, UnmatchedTermWarning
from q2mm_accel.interop.openmm_mechanics import OpenMMMechanics
from q2mm_accel.interop.openmm_systems import to_openmm
from q2mm_accel.model import topology
from q2mm_accel.model.arguments import as_tuple
from q2mm_accel.model.elements import COVALENT_RADII
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import term_kinds
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.system import System
from q2mm_accel.model.vibrations import NormalModes, normal_modes_of, rigid_motions
from q2mm_accel.problem.checks import used_parameters
from q2mm_accel.stationary import StationaryPoint, relax_outside, relax_systems
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU

IMAGINARY = -1.0
"""[cm⁻¹] Below it a frequency counts as imaginary; nearer to 0 it is rounding of a motion that nothing holds."""
FAR = {"bond": 0.05, "angle": 8.0, "torsion": 30.0}
"""Deviations [Å, degrees] from which on a molecule is said not to be held."""
_BROKEN = 1.3
"""A bond that much longer than at the QM geometry is broken."""
_APART, _MET = 1.3, 1.15
"""Atoms that were further apart than that, relative to their covalent radii, and are nearer now, have formed a bond."""
_WORSE, _ROOM = 1.5, 10.0
"""Frequencies at the own minimum are said to be off if they are that many times further off than at the QM geometry, and
that much more [cm⁻¹]."""
_UNITS = {"bond": "Å", "angle": "°", "torsion": "°"}
_HUGE = 1e5
"""[cm⁻¹] From which on figures are rounded to their size."""
_LINES = 14
"""Longest table of molecules that is printed whole."""


@dataclass(frozen=True, eq=False)
class Deviations:
    """What the force field's own geometry differs from QM's in, one kind of internal coordinate.

    Attributes:
        kind: "bond", "angle" or "torsion".
        atoms: shape (n, 2), (n, 3) or (n, 4).
        values: shape (n,), force field less QM, [Å] or [degrees], of torsions within ±180.
        names: of the coordinates, such as "C0-C1-O4".
    """

    kind: str
    atoms: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]

    @property
    def largest(self) -> float:
        """Largest absolute value, 0 if there is none."""
        return float(np.max(np.abs(self.values), initial=0.0))

    @property
    def rms(self) -> float:
        """Root mean square, 0 if there is none."""
        return float(np.sqrt(np.mean(self.values**2))) if len(self.values) else 0.0

    @property
    def worst(self) -> str:
        """Name and value of the largest, "" if there is none."""
        if not len(self.values):
            return ""
        number = int(np.argmax(np.abs(self.values)))
        digits = 3 if self.kind == "bond" else 1
        return f"{self.names[number]} {self.values[number]:+.{digits}f} {_UNITS[self.kind]}"


@dataclass(frozen=True, eq=False)
class MoleculeValidation:
    """What a force field does with one molecule.

    Attributes:
        name: the molecule's.
        converged: whether the stationary point was found.
        outcome: how the search ended, in a word.
        rmsd: root mean square distance of atoms to the QM geometry, after superposition [Å].
        bonds: deviations of bond lengths.
        angles: of bond angles.
        torsions: of proper torsions.
        energy_drop: energy at the QM geometry above that of the minimum [kcal/mol].
        largest_force: largest component of the force at the QM geometry [kcal/mol/Å].
        quantum: shape (K,), QM frequencies without rigid motions, ascending [cm⁻¹]; empty without Hessian.
        at_qm: shape (K,), the force field's at the QM geometry.
        own: shape (K,), the force field's at its own stationary point.
        matched: shape (K,), which of these is most like each of QM's modes, each taken once.
        expected_imaginary: imaginary modes that QM has.
        broken: bonds that are 1.3 times as long as QM's.
        formed: atoms that are near enough to be bonded, unlike in QM.
        n_forces: how many independent forces QM has of a molecule without Hessian.
    """

    name: str
    converged: bool
    outcome: str
    rmsd: float
    bonds: Deviations
    angles: Deviations
    torsions: Deviations
    energy_drop: float
    largest_force: float
    quantum: np.ndarray
    at_qm: np.ndarray
    own: np.ndarray
    matched: np.ndarray
    expected_imaginary: int
    broken: tuple[str, ...]
    formed: tuple[str, ...] = ()
    n_forces: int = 0

    @property
    def n_imaginary(self) -> int:
        """Imaginary modes at the force field's own stationary point that QM does not have."""
        return max(int(np.sum(self.own < IMAGINARY)) - self.expected_imaginary, 0)

    @property
    def frequency_rmsd(self) -> float:
        """Root mean square deviation of sorted frequencies at the own stationary point [cm⁻¹]; NaN without QM's."""
        return _rms(self.own - self.quantum) if len(self.quantum) else np.nan

    @property
    def frequency_rmsd_by_overlap(self) -> float:
        """The same with each QM mode compared with the one that is most like it [cm⁻¹]."""
        return _rms(self.own[self.matched] - self.quantum) if len(self.quantum) else np.nan

    @property
    def frequency_rmsd_at_qm(self) -> float:
        """The same of sorted frequencies at the QM geometry [cm⁻¹]."""
        return _rms(self.at_qm - self.quantum) if len(self.quantum) else np.nan

    @property
    def held(self) -> bool:
        """Whether the force field keeps the molecule: it converged, bonds are the same, and no deviation is large."""
        near = all(each.largest <= FAR[each.kind] for each in (self.bonds, self.angles, self.torsions))
        return self.converged and near and not self.broken and not self.formed and self.n_imaginary == 0

    def warnings(self) -> Iterator[str]:
        """What to distrust, in plain words."""
        if not self.converged:
            yield f"{self.name}: no stationary point was found ({self.outcome}); its figures are of the last geometry."
        changed = [f"{_some(bonds)} {what}" for bonds, what in ((self.broken, "broken"), (self.formed, "formed")) if bonds]
        if changed:
            yield f"{self.name}: the molecule changes its bonds: {', '.join(changed)}."
        far = [each.worst for each in (self.bonds, self.angles, self.torsions) if each.largest > FAR[each.kind]]
        if far and not changed:
            yield f"{self.name}: the force field does not hold the molecule: {', '.join(far)}."
        if self.frequency_rmsd > _WORSE * self.frequency_rmsd_at_qm + _ROOM:
            own, at_qm = self.frequency_rmsd, self.frequency_rmsd_at_qm
            yield f"{self.name}: frequencies are {own:.0f} cm⁻¹ off at its own minimum, {at_qm:.0f} at the QM geometry."
        if self.n_imaginary:
            lowest = f"the lowest at {self.own.min():.0f} cm⁻¹"
            yield f"{self.name}: imaginary modes that QM does not have: {self.n_imaginary}, {lowest}."


@dataclass(frozen=True, eq=False)
class Validation:
    """What a force field does by itself, of each molecule and in all. Printing it gives a table.

    Attributes:
        molecules: one for each system.
        negative: labels of bond, angle and other force constants of equilibria that are below 0.
        at_bounds: labels of parameters at a default bound of the force field, but for those that bounds hold.
        unused: labels of parameters that no term uses.
        idle: labels of equilibria that terms use, but only such whose other parameters are all 0: nothing depends on them.
        n_parameters: how many parameters of the force field terms use and bounds let move.
    """

    molecules: tuple[MoleculeValidation, ...]
    negative: tuple[str, ...]
    at_bounds: tuple[str, ...]
    unused: tuple[str, ...]
    idle: tuple[str, ...]
    n_parameters: int

    def _all(self, name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0), *(getattr(each, name) for each in self.molecules)])

    @property
    def frequency_rmsd(self) -> float:
        """Root mean square deviation of all sorted frequencies at the force field's own minima [cm⁻¹]."""
        return _rms(self._all("own") - self._all("quantum"))

    @property
    def frequency_rmsd_at_qm(self) -> float:
        """The same at the QM geometries."""
        return _rms(self._all("at_qm") - self._all("quantum"))

    @property
    def bond_deviations(self) -> np.ndarray:
        """Of all bond lengths of all molecules, in their order, (n,) [Å]."""
        return np.concatenate([np.zeros(0), *(each.bonds.values for each in self.molecules)])

    @property
    def angle_deviations(self) -> np.ndarray:
        """Of all bond angles, (n,) [degrees]."""
        return np.concatenate([np.zeros(0), *(each.angles.values for each in self.molecules)])

    @property
    def torsion_deviations(self) -> np.ndarray:
        """Of all proper torsions, (n,) [degrees]."""
        return np.concatenate([np.zeros(0), *(each.torsions.values for each in self.molecules)])

    @property
    def rmsd(self) -> np.ndarray:
        """Of each molecule, (n_systems,) [Å]."""
        return np.array([each.rmsd for each in self.molecules])

    @property
    def largest_force(self) -> np.ndarray:
        """Of each molecule, at the QM geometry, (n_systems,) [kcal/mol/Å]."""
        return np.array([each.largest_force for each in self.molecules])

    @property
    def energy_drop(self) -> np.ndarray:
        """Of each molecule, (n_systems,) [kcal/mol]."""
        return np.array([each.energy_drop for each in self.molecules])

    @property
    def n_imaginary(self) -> int:
        """Imaginary modes that QM does not have, of all molecules."""
        return sum(each.n_imaginary for each in self.molecules)

    @property
    def converged(self) -> bool:
        """Whether the stationary points of all molecules were found."""
        return all(each.converged for each in self.molecules)

    @property
    def held(self) -> bool:
        """Whether the force field keeps all molecules."""
        return all(each.held for each in self.molecules)

    @property
    def n_data(self) -> int:
        """QM data on the molecules: vibrations and their couplings, and forces along them, or without Hessian all forces."""
        counts = [len(each.quantum) for each in self.molecules]
        return sum(count * (count + 1) // 2 + count for count in counts) + sum(each.n_forces for each in self.molecules)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to distrust, in plain words, the worst first."""
        found = [line for each in self.molecules for line in each.warnings()]
        if self.negative:
            found.append(f"{_count(self.negative, 'force constant')} below 0: {_some(self.negative)}.")
        if self.at_bounds:
            found.append(f"{_count(self.at_bounds, 'parameter')} at a bound: {_some(self.at_bounds)}.")
        if self.unused:
            found.append(f"{_count(self.unused, 'parameter')} used by no term: {_some(self.unused)}.")
        if self.idle:
            found.append(f"{_count(self.idle, 'parameter')} without effect, for force constants are 0: {_some(self.idle)}.")
        if self.n_data < self.n_parameters:
            found.append(
                f"{self.n_parameters} parameters but only {self.n_data} QM data: many force fields fit equally well."
            )
        return tuple(found)

    def __str__(self) -> str:
        """At most 25 lines: molecules, all together, and what to distrust."""
        shown = self.molecules
        if len(shown) > _LINES:
            shown = sorted(shown, key=lambda each: (each.held, -np.nan_to_num(each.frequency_rmsd)))[:_LINES]
        lines = [
            f"{'molecule':<20}{'RMS freq. (cm⁻¹)':>18}{'largest deviation from QM':>42}{'imag.':>7}",
            f"{'':<20}{'at QM':>9}{'own':>9}{'bond (Å)':>12}{'angle (°)':>12}{'torsion (°)':>13}{'':>12}",
            *(_line(each) for each in shown),
        ]
        if len(shown) < len(self.molecules):
            lines.append(f"... the worst {len(shown)} of {len(self.molecules)}")
        largest = [float(np.max(np.abs(each), initial=0.0)) for each in (self.bond_deviations, self.angle_deviations)]
        lines.append(
            f"all: {_figure(self.frequency_rmsd_at_qm)} cm⁻¹ at the QM geometries, {_figure(self.frequency_rmsd)} at the "
            f"own minima; bonds within {largest[0]:.3f} Å, angles within {largest[1]:.1f}°; {self.n_parameters} parameters, "
            f"{self.n_data} data"
        )
        found = [f"! {warning}" for warning in self.warnings]
        room = 25 - len(lines)
        if len(found) > room:
            found = [*found[: room - 1], f"! and {len(found) - room + 1} more (.warnings)"]
        return "\n".join([*lines, *found])


def validate(systems: Iterable[System], forcefield: ForceField, *, batch_size: int | None = None) -> Validation:
    """Relax each molecule by the force field, and compare with QM: geometry, frequencies, stability.

    A molecule whose QM Hessian has imaginary modes is taken to the saddle point with as many. What `as_minimum` gives has
    none, by methods "inverted" and "C", and is taken to a minimum. A system of `from_openmm` with forces that have no terms
    of ours is relaxed through OpenMM, with Hessians by differences of its forces.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        batch_size: how many molecules are relaxed at a time, to save memory; all by default.

    Returns:
        The figures, of each molecule and in all; `print` shows them.

    Raises:
        As `relax_systems`.
    """
    chosen = as_tuple(systems, System, "systems", TopologyError)
    expected = [_imaginary(system.molecule) for system in chosen]
    start = _relaxed(chosen, forcefield, expected, batch_size, max_steps=0)
    relaxed = _relaxed(chosen, forcefield, expected, batch_size)
    values, bounds = forcefield.parameters, forcefield.bounds
    used = used_parameters(chosen, forcefield)
    acting = used_parameters(chosen, forcefield, only_with_effect=True)
    movable = bounds.lb < bounds.ub
    at_bounds = used & movable & ((values <= bounds.lb) | (values >= bounds.ub))
    labels = forcefield.labels
    return Validation(
        tuple(map(_of_molecule, chosen, start, relaxed, expected)),
        tuple(labels[number] for number in _negative(forcefield) if used[number]),
        tuple(labels[number] for number in np.flatnonzero(at_bounds)),
        tuple(labels[number] for number in np.flatnonzero(~used)),
        tuple(labels[number] for number in np.flatnonzero(used & ~acting)),
        int(np.sum(used & movable)),
    )


def _relaxed(
    systems: Sequence[System], forcefield: ForceField, upward: Sequence[int], batch_size: int | None, **limits: int
) -> list[StationaryPoint]:
    """The molecules' stationary points; through OpenMM where it has forces that are no terms of ours."""
    outside = [number for number, each in enumerate(systems) if each.background is not None and each.origin is not None]
    inside = [number for number in range(len(systems)) if number not in outside]
    points = dict(
        zip(
            inside,
            relax_systems(
                [systems[number] for number in inside],
                forcefield,
                n_maximized=[upward[number] for number in inside],
                batch_size=batch_size,
                **limits,
            ),
            strict=True,
        )
    )
    for number in outside:
        molecule = systems[number].molecule
        mechanics = OpenMMMechanics(to_openmm(systems[number], forcefield), molecule.name)
        points[number] = relax_outside(molecule, mechanics, n_maximized=upward[number], **limits)
    return [points[number] for number in range(len(systems))]


def _imaginary(molecule: Molecule) -> int:
    if molecule.hessian is None:
        return 0
    return int(np.sum(molecule.normal_modes.frequencies < IMAGINARY))


def _negative(forcefield: ForceField) -> list[int]:
    """Force constants of kinds with an equilibrium of their own that are below 0."""
    values, found = forcefield.parameters, []
    for name, kind in term_kinds().items():
        equilibria = {each.equilibrium for each in kind.coordinates}
        own = [place for place in range(len(kind.parameters)) if place not in equilibria]
        if len(own) < len(kind.parameters):
            found += [int(each) for each in forcefield.positions(name)[:, own].ravel() if values[each] < 0.0]
    return found


def _of_molecule(system: System, start: StationaryPoint, end: StationaryPoint, expected: int) -> MoleculeValidation:
    molecule = system.molecule
    bonds = system.terms("bond")[0] if "bond" in system.kinds else topology.bonds(molecule)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnmatchedTermWarning)  # torsions through straight angles have no value
        torsions = topology.torsions(molecule, bonds)
    before, after = molecule.coordinates, end.coordinates
    lengths = [topology.distances(each, bonds) for each in (before, after)]
    rotation = _superposition(before, after)
    moved = (after - after.mean(axis=0)) @ rotation.T
    quantum = at_qm = own = np.zeros(0)
    matched = np.zeros(0, dtype=np.int64)
    if molecule.hessian is not None:
        modes = molecule.normal_modes
        quantum, at_qm = modes.frequencies, _modes(start.hessian, before, molecule).frequencies
        found = _modes(end.hessian, after, molecule)
        own, matched = _as_many(found.frequencies, len(quantum)), _by_overlap(modes, found, rotation)
    return MoleculeValidation(
        name=molecule.name,
        converged=end.converged,
        outcome=end.outcome.name.lower().replace("_", " "),
        rmsd=float(np.sqrt(np.mean(np.sum((moved - before + before.mean(axis=0)) ** 2, axis=1)))),
        bonds=_deviations("bond", molecule, bonds, lengths[1] - lengths[0]),
        angles=_angle_deviations(molecule, topology.angles(bonds), after),
        torsions=_torsion_deviations(molecule, torsions, after),
        energy_drop=start.energy - end.energy,
        largest_force=start.largest_gradient,
        quantum=quantum,
        at_qm=at_qm,
        own=own,
        matched=matched,
        expected_imaginary=expected,
        n_forces=_n_forces(molecule),
        broken=tuple(_name(molecule, row) for row in bonds[lengths[1] > _BROKEN * lengths[0]].tolist()),
        formed=tuple(_name(molecule, row) for row in _formed(molecule, bonds, after)),
    )


def _formed(molecule: Molecule, bonds: np.ndarray, after: np.ndarray) -> list[list[int]]:
    """Pairs of atoms that have come as near as in a bond, none of which they were in QM's geometry."""
    pairs = np.stack(np.triu_indices(molecule.n_atoms, 1), axis=1)
    radii = np.array([COVALENT_RADII.get(symbol, np.nan) for symbol in molecule.symbols])[pairs].sum(axis=1)
    before, now = (topology.distances(each, pairs) / radii for each in (molecule.coordinates, after))
    met = (before > _APART) & (now < _MET)
    known = {tuple(sorted(pair)) for pair in bonds.tolist()}
    return [pair for pair in pairs[met].tolist() if tuple(pair) not in known]


def _n_forces(molecule: Molecule) -> int:
    """Forces that no rigid motion has; with a Hessian they are counted along its modes."""
    if molecule.hessian is not None or molecule.gradient is None:
        return 0
    return 3 * molecule.n_atoms - rigid_motions(molecule.coordinates, molecule.masses).shape[1]


def _superposition(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation that takes a geometry to another, both about their centres, (3, 3)."""
    if len(before) < 2:
        return np.eye(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a linear molecule may turn about its axis
        found = Rotation.align_vectors(before - before.mean(axis=0), after - after.mean(axis=0))
    return found[0].as_matrix()


def _modes(hessian: np.ndarray, coordinates: np.ndarray, molecule: Molecule) -> NormalModes:
    """Of a Hessian in kcal/mol/Å²."""
    return normal_modes_of(hessian * KCALMOLA2_TO_HESSIAN_AU, coordinates, molecule.masses)


def _as_many(frequencies: np.ndarray, count: int) -> np.ndarray:
    """As many vibrations as QM has: a molecule that became straight has one more, a bent one that was straight one less."""
    kept = np.delete(frequencies, np.argsort(np.abs(frequencies))[: max(len(frequencies) - count, 0)])
    return np.sort(np.append(kept, np.zeros(count - len(kept))))


def _by_overlap(quantum: NormalModes, found: NormalModes, rotation: np.ndarray) -> np.ndarray:
    """Which of the modes found is most like each of QM's, each taken once, (K,); in order if there are more or fewer."""
    if len(quantum.eigenvalues) != len(found.eigenvalues):
        return np.arange(len(quantum.eigenvalues))
    size, count = found.vectors.shape  # count is 0 of a single atom
    turned = np.einsum("ab,nbk->nak", rotation, found.vectors.reshape(size // 3, 3, count))
    overlaps = (quantum.vectors.T @ turned.reshape(found.vectors.shape)) ** 2
    return linear_sum_assignment(overlaps, maximize=True)[1]


def _deviations(kind: str, molecule: Molecule, atoms: np.ndarray, values: np.ndarray) -> Deviations:
    return Deviations(kind, atoms, values, tuple(_name(molecule, row) for row in atoms.tolist()))


def _angle_deviations(molecule: Molecule, atoms: np.ndarray, after: np.ndarray) -> Deviations:
    found = topology.angle_values(after, atoms) - topology.angle_values(molecule.coordinates, atoms)
    return _deviations("angle", molecule, atoms, found)


def _torsion_deviations(molecule: Molecule, atoms: np.ndarray, after: np.ndarray) -> Deviations:
    found = topology.dihedral_values(after, atoms) - topology.dihedral_values(molecule.coordinates, atoms)
    return _deviations("torsion", molecule, atoms, (found + 180.0) % 360.0 - 180.0)


def _name(molecule: Molecule, atoms: Sequence[int]) -> str:
    return "-".join(f"{molecule.symbols[atom]}{atom}" for atom in atoms)


def _line(each: MoleculeValidation) -> str:
    figures = "".join(f"{_figure(value):>9}" for value in (each.frequency_rmsd_at_qm, each.frequency_rmsd))
    return (
        f"{each.name[:19]:<20}{figures}{each.bonds.largest:12.3f}{each.angles.largest:12.1f}{each.torsions.largest:13.1f}"
        f"{each.n_imaginary:12d}"
    )


def _figure(value: float) -> str:
    """A frequency, "-" where there is none; those of molecules that have flown apart can be huge."""
    if np.isnan(value):
        return "-"
    return f"{value:.0e}" if value >= _HUGE else f"{value:.1f}"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _count(items: Sequence[str], what: str) -> str:
    return f"1 {what} is" if len(items) == 1 else f"{len(items)} {what}s are"


def _some(items: Sequence[str]) -> str:
    return f"{', '.join(items[:4])}{' ...' if len(items) > 4 else ''}"

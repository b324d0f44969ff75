"""Types of the terms that were read from OpenMM Systems: which share parameters, how they are called and bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from q2mm_accel.errors import InteropError
from q2mm_accel.interop.openmm_entries import Entry
from q2mm_accel.interop.openmm_reading import Contents
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, SIGNED_BOUNDS, Kind, Parameter
from q2mm_accel.model.molecule import Molecule

ADJUSTABLE = {
    "bonds": ("bond",),
    "angles": ("angle",),
    "torsions": ("torsion",),
    "impropers": ("improper", "harmonic_improper"),
    "urey_bradley": ("urey_bradley",),
    "vdw": ("vdw", "special_vdw"),
    "charges": ("coulomb",),
}
"""Names of `fit` and the kinds that they make adjustable."""
_MARGINS = {"Å": 0.1, "degrees": 15.0}
"""How far bounds of equilibria reach beyond what molecules and force field show, as those of `perceive`."""
_EQUAL = 1e-9
"""Relative difference of parameters that count as equal where a table of labels joins them."""
_STRAIGHT = 180.0


@dataclass(frozen=True)
class Labels:
    """How terms are typed.

    Attributes:
        rule: "parameters" or "term"; or "labels" for the names in `names`.
        names: of each System, of each atom.
    """

    rule: str
    names: tuple[tuple[str, ...], ...] = ()


@dataclass
class _Types:
    """The types of a kind while they are found."""

    numbers: dict[tuple, int]
    values: list[tuple[float, ...]]
    constants: list[tuple[float, ...]]
    labels: list[str]
    where: list[str]


def typed(
    read: Sequence[Contents], molecules: Sequence[Sequence[Molecule]], labels: Labels, fitted: frozenset[str]
) -> tuple[ForceField, list[dict[str, np.ndarray]]]:
    """The force field of some Systems, in the form "amber".

    Args:
        read: what each System consists of.
        molecules: of each System its molecules.
        labels: how terms of fitted kinds are typed; others are by their parameters.
        fitted: kinds whose parameters may change; those of others are pinned.

    Returns:
        The force field, and of each System kind -> type of each term, or of each atom for kinds of pairs.

    Raises:
        InteropError: terms that labels join have other parameters.
    """
    numbers: list[dict[str, np.ndarray]] = [{} for _ in read]
    arrays: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    names: list[str] = []
    for kind in KINDS:
        types = _Types({}, [], [], [], [])
        rule = labels if kind in fitted else Labels("parameters")
        for place, contents in enumerate(read):
            own = _entries_of(contents, kind)
            if own:
                numbers[place][kind] = _number(types, kind, own, place, molecules, rule)
        if types.values:
            declared = KINDS[kind]
            columns = np.array(types.values).T
            arrays |= dict(zip(declared.fields, columns, strict=True))
            if isinstance(declared, Kind) and declared.constants:
                rows = np.array(types.constants).T
                arrays |= dict(zip((each.field for each in declared.constants), rows, strict=True))
            limits |= _limits(kind, columns, read, [each.get(kind) for each in numbers], molecules, kind in fitted)
            names += [f"{label} {parameter.label}" for label in types.labels for parameter in declared.parameters]
    return ForceField(form="amber", labels=names, arrays=arrays, limits=limits), numbers


def _entries_of(contents: Contents, kind: str) -> list[Entry]:
    """Terms of a kind, or its atoms in the same shape."""
    if kind in contents.atoms and kind in contents.pairs:
        return [Entry((atom,), values, (), (-1, atom)) for atom, values in enumerate(contents.atoms[kind])]
    return contents.terms.get(kind, [])


def _number(
    types: _Types, kind: str, own: list[Entry], place: int, molecules: Sequence[Sequence[Molecule]], labels: Labels
) -> np.ndarray:
    """Types of the terms of one System, in their order; new ones are added."""
    found, molecule = [], molecules[place][0]
    name = molecule.name if len(molecules) > 1 else ""
    seen: dict[tuple, int] = {}
    for number, entry in enumerate(own):
        words = _words(entry, molecule, labels, place)
        if labels.rule == "parameters":
            key = (words, entry.values, entry.constants)
        elif labels.rule == "term":
            key = (place, number)
        else:
            key = (words, entry.constants)
        # the same cosine of the same atoms twice would be one term twice: it gets a type of its own
        again = seen.setdefault((key, _same(kind, entry.atoms)), 0)
        seen[key, _same(kind, entry.atoms)] += 1
        key = (*key, again)
        if key not in types.numbers:
            types.numbers[key] = len(types.values)
            types.values.append(entry.values)
            types.constants.append(entry.constants)
            types.labels.append(_label(kind, words, entry, labels, types.labels, name))
            types.where.append(_where(kind, entry, molecule))
        elif labels.rule == "labels":
            _check_equal(types, types.numbers[key], kind, words, entry, molecule)
        found.append(types.numbers[key])
    return np.array(found, dtype=np.int64)


def _same(kind: str, atoms: tuple[int, ...]) -> tuple[int, ...]:
    declared = KINDS[kind]
    return declared.same_term(list(atoms)) if isinstance(declared, Kind) else atoms


def _words(entry: Entry, molecule: Molecule, labels: Labels, place: int) -> tuple[str, ...]:
    """Elements or labels of a term's atoms, the same in either direction."""
    if labels.rule == "term":
        return tuple(f"{molecule.symbols[atom]}{atom}" for atom in entry.atoms)
    names = labels.names[place] if labels.rule == "labels" else molecule.symbols
    words = tuple(names[atom] for atom in entry.atoms)
    return min(words, words[::-1])


def _label(kind: str, words: tuple[str, ...], entry: Entry, labels: Labels, taken: Sequence[str], where: str) -> str:
    """A name of a type that no other of the kind has; `where` is the molecule's name where there are several."""
    parts = [kind, "-".join(words)]
    if labels.rule == "parameters":
        parts.append(f"#{len(taken)}")
    if entry.constants:
        parts.append(f"n={entry.constants[0]:.0f}")
    if labels.rule == "term" and where:
        parts.append(f"of {where}")
    label, again = " ".join(parts), 2
    while " ".join(parts) in taken:
        parts, again = [label, f"({again})"], again + 1
    return " ".join(parts)


def _where(kind: str, entry: Entry, molecule: Molecule) -> str:
    atoms = "-".join(f"{molecule.symbols[atom]}{atom}" for atom in entry.atoms)
    units = [parameter.unit for parameter in KINDS[kind].parameters]
    values = ", ".join(f"{value:.6g} {unit}" for value, unit in zip(entry.values, units, strict=True))
    return f"{atoms} of {molecule.name} ({values})"


def _check_equal(types: _Types, number: int, kind: str, words: tuple[str, ...], entry: Entry, molecule: Molecule) -> None:
    if not np.allclose(entry.values, types.values[number], rtol=_EQUAL, atol=0.0):
        raise InteropError(
            f"the labels {'-'.join(words)} join {kind} terms of other parameters: {types.where[number]} and "
            f"{_where(kind, entry, molecule)}; a fit could not start from both. Give their atoms labels that differ, or "
            "take types='parameters'."
        )


def _limits(
    kind: str,
    columns: np.ndarray,
    read: Sequence[Contents],
    numbers: Sequence[np.ndarray | None],
    molecules: Sequence[Sequence[Molecule]],
    fitted: bool,
) -> dict[str, np.ndarray]:
    """Bounds of the parameters of a kind, (n_types, 2) by field: of frozen ones their values."""
    declared, result = KINDS[kind], {}
    equilibria = _equilibria(declared)
    for column, parameter in enumerate(declared.parameters):
        values = columns[column]
        # OpenMM's plain impropers have no rule for deviations beyond half a turn: at their own equilibria none is needed
        if not fitted or parameter.field == "harmonic_improper_values":
            limits = np.stack([values, values], axis=1)
        elif column in equilibria and parameter.unit in _MARGINS:
            shown = _shown(kind, values, read, numbers, molecules)
            margin = _MARGINS[parameter.unit]
            limits = np.stack([shown[:, 0] - margin, shown[:, 1] + margin], axis=1)
            if kind == "angle":
                limits = np.clip(limits, 0.0, _STRAIGHT)
                limits[values == _STRAIGHT] = _STRAIGHT
            elif parameter.sign == "positive":
                limits = np.maximum(limits, parameter.bounds[0] * 0.1)
        else:
            limits = _wide(parameter, values)
        result[parameter.field] = limits
    return result


def _equilibria(declared: Any) -> set[int]:
    coordinates = declared.coordinates if isinstance(declared, Kind) else ()
    return {each.equilibrium for each in coordinates if each.equilibrium is not None}


def _wide(parameter: Parameter, values: np.ndarray) -> np.ndarray:
    """The kind's bounds, made wider where the force field has more: up to twice its value."""
    lower, upper = parameter.bounds
    if parameter.field in SIGNED_BOUNDS and np.any(values < 0.0):
        lower, upper = SIGNED_BOUNDS[parameter.field]
    outside = (values < lower) | (values > upper)
    wide = np.stack([np.minimum(lower, 2.0 * values), np.maximum(upper, 2.0 * values)], axis=1)
    if parameter.sign != "any":
        wide[:, 0] = np.minimum(lower, values)
    return np.where(outside[:, None], wide, np.array([lower, upper]))


def _shown(
    kind: str,
    values: np.ndarray,
    read: Sequence[Contents],
    numbers: Sequence[np.ndarray | None],
    molecules: Sequence[Sequence[Molecule]],
) -> np.ndarray:
    """Least and largest equilibrium of each type that molecules or the force field show, (n_types, 2)."""
    shown = np.stack([values, values], axis=1)
    for contents, types, own in zip(read, numbers, molecules, strict=True):
        if types is None:
            continue
        atoms = np.array([entry.atoms for entry in contents.terms[kind]])
        for molecule in own:
            measure = topology.distances if atoms.shape[1] == 2 else topology.angle_values
            found = measure(molecule.coordinates, atoms)
            np.minimum.at(shown[:, 0], types, found)
            np.maximum.at(shown[:, 1], types, found)
    return shown

"""Other molecules for a force field that exists: perceived terms find their types by name."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from q2mm_accel.errors import TopologyError
from q2mm_accel.model.arguments import as_tuple, instance
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, Kind
from q2mm_accel.model.system import System

_NAMED = 5
"""How many missing types a message names."""


def adopt(systems: Iterable[System], perceived: ForceField, forcefield: ForceField) -> list[System]:
    """Systems whose terms have the types of another force field, by their names.

    A type of several classes, as "angle H(C)-C(HHHO)-O(CH) ~106", goes by the class whose equilibrium is nearest to its own.

    Args:
        systems: as `perceive` gives them.
        perceived: the force field that came with them.
        forcefield: the one that is to be used.

    Returns:
        The systems, for `forcefield`.

    Raises:
        TopologyError: types that the force field does not have, by name.
    """
    chosen = as_tuple(systems, System, "systems", TopologyError)
    instance(forcefield, ForceField, "forcefield", TopologyError)
    rows, missing = {}, []
    for name in KINDS:
        known = _by_name(forcefield, name)
        rows[name] = []
        for label, value in _types(perceived, name):
            candidates = known.get(_plain(label), [])
            if not candidates:
                missing.append(label)
                continue
            rows[name].append(min(candidates, key=lambda each: (each[2] != label, abs(each[1] - value)))[0])
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise TopologyError(
            f"the force field has no type {', '.join(missing[:_NAMED])}{more}. Give molecules with the types that it was "
            "fitted to, or perceive terms with the options of the fit."
        )
    return [_adopted(system, {name: np.array(each, dtype=np.int64) for name, each in rows.items()}) for system in chosen]


def _types(forcefield: ForceField, kind: str) -> list[tuple[str, float]]:
    """Label and last parameter, which is the equilibrium where there is one, of each type of a kind."""
    labels, values = forcefield.labels, forcefield.parameters
    return [(labels[row[0]].rsplit(" ", 1)[0], float(values[row[-1]])) for row in forcefield.positions(kind).tolist()]


def _by_name(forcefield: ForceField, kind: str) -> dict[str, list[tuple[int, float, str]]]:
    found: dict[str, list[tuple[int, float, str]]] = {}
    for row, (label, value) in enumerate(_types(forcefield, kind)):
        found.setdefault(_plain(label), []).append((row, value, label))
    return found


def _plain(label: str) -> str:
    """A type's name without its class."""
    return " ".join(word for word in label.split(" ") if not word.startswith("~"))


def _adopted(system: System, rows: dict[str, np.ndarray]) -> System:
    changed = {}
    for name in (*system.kinds, *system.pair_kinds):
        types = system.terms(name)[1] if isinstance(KINDS[name], Kind) else system.pairs(name).types
        changed[f"{name}_types"] = rows[name][types]
    return replace(system, **changed)

"""What q2mm's engines evaluate for a molecule: their terms, functional form and units. Duck-typed: q2mm is never imported.

Two engines have terms that are ours:

- JaxEngine: the force field's form, harmonic where it has none; dihedrals have the sign opposite to IUPAC's.
- OpenMMEngine: the force field's form, MM3 where it has none; if harmonic, with Lennard-Jones pairs of arithmetic radii, of
  which those three bonds apart count half. Its Hessians are finite differences of OpenMM's forces.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from q2mm_accel.errors import InteropError
from q2mm_accel.units import KCAL_TO_KJ

_KNOWN_TERMS = {"bond_indices", "angle_indices", "torsion_indices", "vdw_pair_indices", "ub_indices"}
"""The arrays of terms in q2mm's `JaxHandle`."""
_OPENMM_TERMS = {"bond_terms", "angle_terms", "torsion_terms", "vdw_terms", "ub_terms"}
"""The lists of terms in q2mm's `OpenMMHandle`."""
_ONE_FOUR = 0.5
"""OpenMMEngine, harmonic: what pairs three bonds apart count."""


class Conventions(NamedTuple):
    """In what an engine's parameters differ from ours."""

    bond_factor: float
    """kcal/mol/Å² per unit of its bond constants."""
    angle_factor: float
    """kcal/mol/rad² per unit of its angle constants."""
    phase_sign: float
    """By which phases of torsions are multiplied: -1 where dihedrals have the sign opposite to ours."""


class EngineTerms(NamedTuple):
    """What an engine evaluates for one molecule."""

    form: str
    """Of ours."""
    terms: dict[str, Any]
    """Arguments of `System`."""


def is_known(engine: Any) -> bool:
    """Whether the engine's terms can be ours."""
    return type(engine).__name__ in _ENGINES


def conventions(engine: Any) -> Conventions:
    """The units and signs of an engine: 71.97 and 71.94 kcal/mol per unit in 5.0.0a2, 1 later.

    Raises:
        InteropError: an engine whose terms are unknown, or a version whose units are.
    """
    name = type(engine).__name__
    if not is_known(engine):
        raise InteropError(
            f"the ObjectiveFunction uses the engine {name}, whose terms are unknown here; those of {' and '.join(_ENGINES)} "
            "can be carried over. EngineObjective(objective_function) takes any engine as it is, with finite differences."
        )
    module = sys.modules[type(engine).__module__]
    wanted = {"JaxEngine": ("_BOND_K_CONV", "_ANGLE_K_CONV"), "OpenMMEngine": ("_bond_k_to_openmm", "_angle_k_to_openmm")}
    missing = [each for each in wanted[name] if not hasattr(module, each)]
    if missing:
        raise InteropError(
            f"{module.__name__} has no {' and no '.join(missing)}, so the units of this version of q2mm are unknown; "
            "install one that is known: python -m pip install 'q2mm==5.0.0a2'."
        )
    bond, angle = (getattr(module, each) for each in wanted[name])
    if name == "JaxEngine":
        return Conventions(float(bond), float(angle), -1.0)
    return Conventions(bond(1.0) / KCAL_TO_KJ, angle(1.0) / KCAL_TO_KJ, 1.0)


def engine_terms(engine: Any, forcefield: Any, molecule: Any, name: str) -> EngineTerms:
    """The terms of a molecule, matched to the force field's types by the engine itself.

    A fresh context is made: those that an objective has cached may belong to another molecule (0c795729).

    Args:
        engine: for which `is_known`.
        forcefield: a `ForceField` of q2mm.
        molecule: a `Q2MMMolecule`.
        name: of the molecule, for messages.

    Returns:
        Form and terms.

    Raises:
        InteropError: q2mm cannot match the molecule, or the engine evaluates terms of a kind unknown here.
    """
    try:
        handle = engine.create_context(molecule, forcefield)
    except (ValueError, KeyError) as error:
        raise InteropError(f"{name}: q2mm cannot match it to the force field: {error}") from error
    return _ENGINES[type(engine).__name__](handle, forcefield, name)


def _refuse_unknown(counts: dict[str, int], name: str) -> None:
    for kind, count in counts.items():
        if count:
            raise InteropError(
                f"{name}: q2mm's engine evaluates {count} terms of the kind {kind!r}, which are unknown here, so the loss "
                "would differ. Take them out of q2mm's force field, or use EngineObjective(objective_function)."
            )


def _of_jax(handle: Any, forcefield: Any, name: str) -> EngineTerms:
    """Terms of a `JaxHandle`."""
    fields = {field: value for field, value in vars(handle).items() if field.endswith("_indices")}
    _refuse_unknown({f.removesuffix("_indices"): len(v) for f, v in fields.items() if f not in _KNOWN_TERMS}, name)
    terms = {
        "bond_atoms": handle.bond_indices,
        "bond_types": handle.bond_param_map,
        "angle_atoms": handle.angle_indices,
        "angle_types": handle.angle_param_map,
        "torsion_atoms": handle.torsion_indices,
        "torsion_types": handle.torsion_param_map,
        "urey_bradley_atoms": getattr(handle, "ub_indices", ()),
        "urey_bradley_types": getattr(handle, "ub_param_map", ()),
    }
    if handle.n_vdw_types:
        terms |= {"vdw_pairs": handle.vdw_pair_indices, "vdw_types": handle.atom_vdw_map}
    return EngineTerms(getattr(handle, "functional_form", "harmonic"), terms)


def _of_openmm(handle: Any, forcefield: Any, name: str) -> EngineTerms:
    """Terms of an `OpenMMHandle`, each with the type that q2mm updates it with."""
    lists = {field: value for field, value in vars(handle).items() if field.endswith("_terms")}
    _refuse_unknown({f.removesuffix("_terms"): len(v) for f, v in lists.items() if f not in _OPENMM_TERMS}, name)
    form = getattr(getattr(handle, "functional_form", None), "value", "mm3")
    torsions = lists.get("torsion_terms", [])
    terms = {
        "bond_atoms": _atoms(handle.bond_terms, "ij"),
        "bond_types": [_place(forcefield.bonds, _matched(forcefield.match_bond, each)) for each in handle.bond_terms],
        "angle_atoms": _atoms(handle.angle_terms, "ijk"),
        "angle_types": [_place(forcefield.angles, _matched(forcefield.match_angle, each)) for each in handle.angle_terms],
        "torsion_atoms": _atoms(torsions, "ijkl"),
        "torsion_types": [_torsion_type(forcefield, each) for each in torsions],
    }
    pairs = lists.get("ub_terms", [])
    if pairs:
        with_pair = [angle for angle in forcefield.angles if angle.ub_force_constant is not None]
        types = [_place(with_pair, _matched(forcefield.match_angle, each)) for each in pairs]
        terms |= {"urey_bradley_atoms": _atoms(pairs, "ik"), "urey_bradley_types": types}
    if handle.vdw_terms:
        terms |= _pairs_of_openmm(handle, forcefield)
    # harmonic bonded terms are those of amber too, and its radii are arithmetic
    return EngineTerms("amber" if form == "harmonic" else form, terms)


def _atoms(terms: Sequence[Any], letters: str) -> np.ndarray:
    found = [[getattr(each, f"atom_{letter}") for letter in letters] for each in terms]
    return np.array(found, dtype=np.int64).reshape(-1, len(letters))


def _matched(match: Any, term: Any) -> Any:
    return match(term.elements, env_id=term.env_id, ff_row=term.ff_row)


def _place(types: Sequence[Any], wanted: Any) -> int:
    """Position of a type, by identity: types with the same values are equal."""
    places = [number for number, each in enumerate(types) if each is wanted]
    if not places:
        raise InteropError(f"q2mm's force field matches a term to {wanted!r:.200}, which is none of its types.")
    return places[0]


def _torsion_type(forcefield: Any, term: Any) -> int:
    found = forcefield.match_torsion(term.elements, env_id=term.env_id, ff_row=term.ff_row, is_improper=term.is_improper)
    fitting = [each for each in found if each.periodicity == term.periodicity]
    return _place(forcefield.torsions, fitting[0] if fitting else None)


def _pairs_of_openmm(handle: Any, forcefield: Any) -> dict[str, Any]:
    """All pairs of atoms that OpenMM does not leave out, and what they count."""
    force, n_atoms = handle.vdw_force, len(handle.vdw_terms)
    types = [
        _place(forcefield.vdws, forcefield.match_vdw(atom_type=each.atom_type, element=each.element, ff_row=each.ff_row))
        for each in handle.vdw_terms
    ]
    factors = np.triu(np.ones((n_atoms, n_atoms)), 1)
    if hasattr(force, "getNumExceptions"):
        halved = {each.exception_index for each in handle.exceptions_14}
        for number in range(force.getNumExceptions()):
            first, second, *_ = force.getExceptionParameters(number)
            factors[min(first, second), max(first, second)] = _ONE_FOUR if number in halved else 0.0
    else:
        for number in range(force.getNumExclusions()):
            first, second = force.getExclusionParticles(number)
            factors[min(first, second), max(first, second)] = 0.0
    pairs = np.argwhere(factors > 0.0)
    return {"vdw_pairs": pairs, "vdw_types": types, "vdw_factors": factors[tuple(pairs.T)]}


_ENGINES = {"JaxEngine": _of_jax, "OpenMMEngine": _of_openmm}
"""Those whose terms are ours, and how they are read."""

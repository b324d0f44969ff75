"""q2mm's molecules and force fields -> ours. Duck-typed: q2mm itself is never imported here."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from q2mm_accel.errors import InteropError, TopologyError
from q2mm_accel.interop.engines import Conventions
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.model.system import System

_ATOM_FIELDS = {
    "bond": ("atom_i", "atom_j"),
    "angle": ("atom_i", "atom_j", "atom_k"),
    "torsion": ("atom_i", "atom_j", "atom_k", "atom_l"),
}


def forcefield_from_q2mm(forcefield: Any, form: str, conventions: Conventions) -> ForceField:
    """A q2mm force field in canonical units.

    Where an engine's dihedrals have the sign opposite to IUPAC's, which is ours, phases change theirs:
    cos(n (-φ) - γ) = cos(n φ + γ).

    Args:
        forcefield: a `q2mm.models.forcefield.ForceField`.
        form: of ours.
        conventions: of its engine.

    Returns:
        The same types in the same order, labelled by their elements, and by q2mm's label too where these are ambiguous; with
        q2mm's bounds, within which bonds and angles may be negative.

    Raises:
        ParameterError: a periodicity below 1, or a parameter that is not finite.
    """
    bonds, angles, torsions, vdws = forcefield.bonds, forcefield.angles, forcefield.torsions, forcefield.vdws
    outer = [angle for angle in angles if _has_urey_bradley(angle)]
    labels = [
        *(f"bond {name} {what}" for name in _names(bonds) for what in ("k", "r0")),
        *(f"angle {name} {what}" for name in _names(angles) for what in ("k", "theta0")),
        *(f"torsion {name} k" for name in _names(torsions)),
        *(f"vdw {name} {what}" for name in _names(vdws) for what in ("radius", "epsilon")),
        *(f"urey_bradley {name} {what}" for name in _names(outer) for what in ("k", "r0")),
    ]
    return ForceField(
        form=form,
        bond_force_constants=[bond.force_constant * conventions.bond_factor for bond in bonds],
        bond_lengths=[bond.equilibrium for bond in bonds],
        angle_force_constants=[angle.force_constant * conventions.angle_factor for angle in angles],
        angle_values=[angle.equilibrium for angle in angles],
        torsion_force_constants=[torsion.force_constant for torsion in torsions],
        torsion_periodicities=[torsion.periodicity for torsion in torsions],
        torsion_phases=[0.0 + conventions.phase_sign * torsion.phase for torsion in torsions],
        vdw_radii=[vdw.radius for vdw in vdws],
        vdw_epsilons=[vdw.epsilon for vdw in vdws],
        urey_bradley_force_constants=[angle.ub_force_constant for angle in outer],
        urey_bradley_lengths=[angle.ub_equilibrium for angle in outer],
        labels=labels,
    ).with_bounds(**SIGNED_BOUNDS)


def molecule_from_q2mm(molecule: Any, name: str, hessian_factor: float = 1.0, check: bool = False) -> Molecule:
    """A q2mm molecule.

    Args:
        molecule: a `q2mm.models.molecule.Q2MMMolecule`.
        name: for messages.
        hessian_factor: multiplies its Hessian.
        check: whether geometry and Hessian must be plausible.

    Returns:
        The molecule, with the masses that q2mm uses.

    Raises:
        MoleculeError: unknown elements, atoms on top of each other, or a Hessian of the wrong shape.
    """
    masses = getattr(sys.modules.get("q2mm.constants"), "MASSES", MASSES)
    return Molecule(
        molecule.symbols,
        molecule.geometry,
        hessian=None if molecule.hessian is None else np.asarray(molecule.hessian) * hessian_factor,
        name=name,
        charge=molecule.charge,
        multiplicity=molecule.multiplicity,
        masses=[masses.get(symbol, np.nan) for symbol in molecule.symbols],
        waived=() if check else CHECKS,
    )


def system_from_q2mm(molecule: Molecule, terms: dict[str, np.ndarray]) -> System:
    """A system with q2mm's terms.

    Raises:
        InteropError: q2mm counts a term twice, which our systems cannot.
    """
    try:
        return System(molecule, arrays=terms)
    except TopologyError as error:
        raise InteropError(f"q2mm's terms cannot be carried over: {error}") from error


def left_out_terms(molecule: Any, terms: Mapping[str, Any]) -> dict[str, list[tuple[int, ...]]]:
    """The bonds, angles and torsions of a q2mm molecule that have no parameter, so that q2mm's engine drops them.

    Args:
        molecule: a `Q2MMMolecule`.
        terms: those that its engine evaluates.

    Returns:
        Kind of term -> atom indices of each.
    """
    left_out = {}
    for kind, fields in _ATOM_FIELDS.items():
        matched = set(map(tuple, np.asarray(terms[f"{kind}_atoms"]).tolist()))
        found = [tuple(int(getattr(term, field)) for field in fields) for term in getattr(molecule, f"{kind}s", ())]
        left_out[kind] = [atoms for atoms in found if atoms not in matched]
    return left_out


def _has_urey_bradley(angle: Any) -> bool:
    return getattr(angle, "ub_force_constant", None) is not None and getattr(angle, "ub_equilibrium", None) is not None


def _names(types: Sequence[Any]) -> list[str]:
    """One name per type: elements or atom type, the periodicity, and q2mm's label where that is not enough."""
    names = []
    for parameter in types:
        words = tuple(parameter.elements) if hasattr(parameter, "elements") else (parameter.atom_type,)
        name = "-".join(min(words, words[::-1]))
        names.append(f"{name} n={parameter.periodicity}" if hasattr(parameter, "periodicity") else name)
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} ({parameter.label or number})"
        for number, (name, parameter) in enumerate(zip(names, types, strict=True))
    ]

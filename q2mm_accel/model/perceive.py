"""From molecules to terms, types and a first force field, so that quantum-chemical data alone are enough to start."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import FragmentWarning, ParameterError, TopologyError, warn_user
from q2mm_accel.model import topology
from q2mm_accel.model.arguments import real_array, truth
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, form_named, parameter_fields
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.system import System
from q2mm_accel.model.terms import (
    Frame,
    Terms,
    angle_terms,
    bond_terms,
    coupling_terms,
    group_angles,
    group_bonds,
    improper_terms,
    outer_terms,
    stiff_terms,
    torsion_terms,
    vdw_terms,
)
from q2mm_accel.units import MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2

START_BOND = 5.0 * MDYNA_TO_KCALMOLA2
"""Force constant of a bond to start from [kcal/mol/Å²]: q2mm's 5 mdyn/Å."""
START_ANGLE = 0.5 * MDYNA_RAD2_TO_KCALMOLRAD2
"""Force constant of an angle to start from [kcal/mol/rad²]: q2mm's 0.5 mdyn Å/rad²."""
START_UREY_BRADLEY = 10.0
"""Force constant of a Urey-Bradley term to start from [kcal/mol/Å²]: soft beside the bonds."""
START_STIFF_TORSION = 5.0
"""Force constant of a harmonic dihedral to start from [kcal/mol/rad²]: that of a double bond, 65 kcal/mol from planar to
perpendicular, shared by its four torsions, is about 8; aromatic bonds have less."""
_STARTS = {"bond": START_BOND, "angle": START_ANGLE, "urey_bradley": START_UREY_BRADLEY}

_LEAST_MARGINS = (0.1, 15.0)
"""How far bounds of a kind are made to reach beyond what a type's terms show [Å, degrees]."""


def perceive(
    molecules: Iterable[Molecule],
    form: str = "harmonic",
    by: str = "environment",
    bond_tolerance: float = 1.3,
    periodicities: Sequence[int] = (1, 2, 3),
    torsions: bool = True,
    impropers: bool = True,
    vdw: bool = False,
    urey_bradley: bool | str = False,
    *,
    stretch_stretch: bool = False,
    stretch_bend: bool = False,
    bend_bend: bool = False,
    stiff_torsions: bool = False,
    angle_gap: float | None = 4.0,
    bond_gap: float | None = 0.01,
    margins: tuple[float, float] | None = (0.1, 15.0),
    bonds: Sequence[ArrayLike | None] | None = None,
    exclude: Sequence[ArrayLike | None] | None = None,
    types: Sequence[Sequence[str] | None] | None = None,
) -> tuple[list[System], ForceField]:
    """The terms of all molecules, their types, and a force field to start from.

    Terms of one class share a type over all molecules. Equilibrium values are means over the terms of a type; the force
    constants are only a start (`estimate_force_constants` improves those of bonds and angles), 0 for torsions and couplings.
    Default bounds of equilibria reach a margin beyond what the terms of a type show.

    Args:
        molecules: at least one.
        form: name of the functional form, "harmonic", "mm3", "amber" or one that was registered.
        by: "environment" types atoms by their element and those of their neighbours, as in "C(CHHH)", "element" by their
            element alone.
        bond_tolerance: two atoms nearer than this times the sum of their covalent radii are bonded, unless they only touch
            over a bridging atom (`topology.bonds`); transition states need 1.4 to 1.5.
        periodicities: every proper torsion gets one type for each of these, with phase 0.
        torsions: whether to add cosines for proper torsions, but none where an inner angle exceeds 160 degrees.
        impropers: whether to add an improper torsion (periodicity 2, phase 180 degrees) at planar atoms with three
            neighbours. Without it nothing but torsions keeps such an atom in its plane.
        vdw: whether to add van der Waals terms, all pairs but 1-2 and 1-3, with the radii and well depths of UFF; 1-4 pairs
            with the form's factor (1/2 in "amber", 1 in "harmonic" and "mm3").
        urey_bradley: whether to add distance terms between the outer atoms of angles, typed by the angle's class, around
            atoms whose angles depend on each other: planar with three neighbours, or with four and more. Elsewhere bonds
            and angles say all that there is to say, and such terms make water and ammonia worse. "all": around every atom.
            None where the outer atoms are bonded (three-membered rings), or in line with the middle one.
        stretch_stretch: whether to couple every two bonds of an atom.
        stretch_bend: whether to couple every angle with each of its bonds, with a constant for each ("bond_bend").
        bend_bend: whether to couple every two angles that share a bond and their centre.
        stiff_torsions: whether bonds about which nothing rotates (`topology.stiff_bonds`) get harmonic dihedrals, with an
            equilibrium of 0 or 180 degrees that no fit moves, instead of cosines. Many cosines about one bond can shift
            the minimum of a molecule that a few stiff terms hold in place.
        angle_gap: angles of one class of atoms get several types where their sorted values leave a gap above this
            [degrees], as at 90 and 180 degrees around a metal. Those above 175 degrees get an equilibrium of exactly 180,
            which no fit moves. None: one type for each class, whatever the values.
        bond_gap: bonds likewise, where sorted lengths leave a gap above this [Å]; None: one type for each class.
        margins: how far bounds of equilibria reach beyond the smallest and largest value of a type's terms, [Å] and
            [degrees]; None for the bounds of the kind, made wider where a molecule shows more.
        bonds: for each molecule its bonds, shape (n_bonds, 2), or None to have them perceived.
        exclude: for each molecule pairs of atoms, shape (n, 2), that are no bonds although they are near, or None.
        types: for each molecule one name per atom, by which its terms are typed, or None for names as `by` says.

    Returns:
        One System per molecule, in their order, and the force field; types are in the order of their first appearance.

    Raises:
        TopologyError: no molecules, an unknown `by`, an element without covalent radius, malformed bonds, exclude or types.
        ParameterError: malformed options, or an element without van der Waals parameters.
        FormError: no form of that name.

    Warns:
        UnmatchedTermWarning: torsions through a nearly linear angle were left out.
        FragmentWarning: atoms without any term, or fragments of a molecule without any between them.

    Source: start values of force constants: q2mm (5 mdyn/Å, 0.5 mdyn Å/rad²); van der Waals: Rappé et al., J. Am. Chem.
    Soc. 1992, 114, 10024.
    """
    molecules = _checked(molecules, by, periodicities)
    everywhere = isinstance(urey_bradley, str) and urey_bradley == "all"
    chosen = {"torsions": torsions, "impropers": impropers, "vdw": vdw, "urey_bradley": everywhere or urey_bradley}
    chosen |= {"stretch_stretch": stretch_stretch, "stretch_bend": stretch_bend, "bend_bend": bend_bend}
    chosen |= {"stiff_torsions": stiff_torsions}
    wanted = {name for name, value in chosen.items() if truth(value, name, ParameterError)}
    one_four = form_named(form).one_four.get("vdw", 1.0)
    each = zip(
        molecules,
        _for_each(bonds, "bonds", molecules),
        _for_each(exclude, "exclude", molecules),
        _for_each(types, "types", molecules),
        strict=True,
    )
    frames = [_frame(molecule, given, near, names, by, bond_tolerance) for molecule, given, near, names in each]
    if angle_gap is not None:
        group_angles(frames, _positive(angle_gap, "angle_gap"))
    if bond_gap is not None:
        group_bonds(frames, _positive(bond_gap, "bond_gap"))
    found = [_terms(frame, wanted, periodicities, one_four, everywhere) for frame in frames]
    if not vdw:
        _warn_of_fragments(frames)
    return _systems_and_forcefield(molecules, form, found, _checked_margins(margins))


def type_means(types: Sequence[np.ndarray], values: Sequence[np.ndarray], default: np.ndarray) -> np.ndarray:
    """Means of `values` by type, shape (n_types,); `types` and `values` hold one array, shape (n_terms,), per molecule.

    A type without terms gets its entry of `default`, shape (n_types,).
    """
    all_types, all_values = np.concatenate(types), np.concatenate(values)
    counts = np.bincount(all_types, minlength=len(default))
    sums = np.bincount(all_types, weights=all_values, minlength=len(default))
    return np.where(counts > 0, sums / np.maximum(counts, 1), default)


def _checked(molecules: Iterable[Molecule], by: str, periodicities: Sequence[int]) -> list[Molecule]:
    listed = [] if isinstance(molecules, Molecule) or not isinstance(molecules, Iterable) else list(molecules)
    if not listed or not all(isinstance(molecule, Molecule) for molecule in listed):
        raise TopologyError("molecules: perceive needs a list of at least one Molecule; pass [molecule] for a single one.")
    if by not in ("element", "environment"):
        raise TopologyError(f'by is {by!r}; atoms can be typed by "element" or by "environment".')
    numbers = real_array(periodicities, "periodicities", ParameterError, ndim=1)
    if len(set(numbers)) < len(numbers) or np.any((numbers < 1) | (numbers != np.round(numbers))):
        raise ParameterError(f"periodicities are {tuple(periodicities)}; give different integers from 1.")
    return listed


def _checked_margins(margins: tuple[float, float] | None) -> tuple[float, ...] | None:
    if margins is None:
        return None
    return tuple(_positive(each, "margins") for each in real_array(margins, "margins", ParameterError, shape=(2,)))


def _positive(value: float, what: str) -> float:
    number = float(real_array(value, what, ParameterError, shape=()))
    if number <= 0.0:
        raise ParameterError(f"{what} is {number:g}; it must be above 0.")
    return number


def _for_each(given: Sequence | None, what: str, molecules: Sequence[Molecule]) -> list:
    """What is given for each molecule, or None for each."""
    if given is None:
        return [None] * len(molecules)
    if isinstance(given, str | bytes) or not isinstance(given, Sequence) or len(given) != len(molecules):
        listed = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        count = f"{len(given)} entries" if listed else f"{given!r:.60}"
        raise TopologyError(
            f"{what} is {count} for {len(molecules)} molecules; give a list with one entry for each, None where there is "
            "nothing to say."
        )
    return list(given)


def _frame(
    molecule: Molecule,
    given: ArrayLike | None,
    exclude: ArrayLike | None,
    names: Sequence[str] | None,
    by: str,
    tolerance: float,
) -> Frame:
    """The bonds and angles of a molecule, and the names of its atoms' types."""
    if given is not None and exclude is not None:
        raise TopologyError(f"{molecule.name}: bonds are given, so that there is nothing to exclude. Pass one of both.")
    unwanted = topology.checked_pairs(molecule, () if exclude is None else exclude, "exclude")
    if given is None:
        bonds = topology.bonds(molecule, tolerance, unwanted)
    else:
        bonds = topology.checked_pairs(molecule, given, "bonds")
    if names is None:
        names = topology.environments(molecule, bonds) if by == "environment" else molecule.symbols
    elif (
        isinstance(names, str)
        or not isinstance(names, Collection)
        or len(names) != molecule.n_atoms
        or not all(isinstance(name, str) for name in names)
    ):
        raise TopologyError(
            f"{molecule.name}: types are {names!r:.60}; give {molecule.n_atoms} names, one for each atom, or None."
        )
    angles = topology.angles(bonds)
    return Frame(molecule, bonds, list(names), angles, [""] * len(angles), [""] * len(bonds))


def _terms(
    frame: Frame, wanted: set[str], periodicities: Sequence[int], one_four: float, everywhere: bool
) -> dict[str, Terms]:
    """The terms of each kind; kinds that are not wanted are missing."""
    terms = {"bond": bond_terms(frame), "angle": angle_terms(frame)}
    if wanted & {"torsions", "stiff_torsions"}:
        chains = topology.torsions(frame.molecule, frame.bonds)
        stiff = np.zeros(len(chains), dtype=bool)
        if "stiff_torsions" in wanted:
            bonds = topology.stiff_bonds(frame.molecule, frame.bonds)
            stiff = np.array([tuple(sorted(row[1:3])) in bonds for row in chains.tolist()], dtype=bool)
            terms["harmonic_dihedral"] = stiff_terms(frame, chains[stiff])
        if "torsions" in wanted:
            terms["torsion"] = torsion_terms(frame, chains[~stiff], periodicities)
    if "vdw" in wanted:
        terms["vdw"] = vdw_terms(frame, one_four)
    if "urey_bradley" in wanted:
        terms["urey_bradley"] = outer_terms(frame, everywhere)
    if "impropers" in wanted:
        terms["improper"] = improper_terms(frame)
    couplings = {"stretch_stretch": "stretch_stretch", "bond_bend": "stretch_bend", "bend_bend": "bend_bend"}
    terms |= {kind: coupling_terms(kind, frame) for kind, option in couplings.items() if option in wanted}
    return terms


def _warn_of_fragments(frames: Sequence[Frame]) -> None:
    """Warn of what no term holds together."""
    for frame in frames:
        parts = topology.fragments(frame.molecule.n_atoms, frame.bonds)
        if len(parts) > 1:
            symbols = frame.molecule.symbols
            named = [", ".join(f"{symbols[i]}{i}" for i in part[:4]) + " ..." * (len(part) > 4) for part in parts[:4]]
            warn_user(
                f"{frame.molecule.name}: no term acts between its {len(parts)} fragments: {'; '.join(named)}"
                f"{' ...' if len(parts) > 4 else ''}. Pass vdw=True, a larger bond_tolerance (1.4 to 1.5 for a transition "
                "state), or bonds=.",
                FragmentWarning,
            )


def _systems_and_forcefield(
    molecules: Sequence[Molecule], form: str, found: Sequence[dict[str, Terms]], margins: tuple[float, ...] | None
) -> tuple[list[System], ForceField]:
    """Number the classes of all terms, and give each the parameters that they start from."""
    systems: list[dict] = [{} for _ in molecules]
    parameters: dict[str, Any] = {}
    limits: dict[str, np.ndarray] = {}
    labels: list[str] = []
    for kind in (name for name in KINDS if any(name in terms for terms in found)):
        own = [terms[kind] for terms in found]
        numbers, keys = _number([terms.classes for terms in own])
        for arguments, terms, types in zip(systems, own, numbers, strict=True):
            arguments["vdw_pairs" if kind == "vdw" else f"{kind}_atoms"] = terms.atoms
            arguments[f"{kind}_types"] = types
            if terms.factors is not None:
                arguments[f"{kind}_factors"] = terms.factors
        values = [terms.values for terms in own]
        parameters |= _parameters(kind, keys, numbers, values)
        limits |= _limits(kind, keys, numbers, values, margins)
        labels += [f"{label} {parameter.label}" for label, *_ in keys for parameter in KINDS[kind].parameters]
    return (
        [System(molecule, **arguments) for molecule, arguments in zip(molecules, systems, strict=True)],
        ForceField(form=form, **parameters, labels=labels, limits=limits),
    )


def _number(classes: Iterable[list[tuple]]) -> tuple[list[np.ndarray], list[tuple]]:
    """Types of all terms, counted in the order in which their classes first appear, and these classes."""
    numbers: dict[tuple, int] = {}
    types = [np.array([numbers.setdefault(key, len(numbers)) for key in own], dtype=np.int64) for own in classes]
    return types, list(numbers)


def _parameters(kind: str, keys: list[tuple], types: list[np.ndarray], values: list[np.ndarray]) -> dict[str, Any]:
    """The fields of ForceField for one kind of term."""
    declared, n_types = KINDS[kind], len(keys)
    if kind in ("torsion", "improper"):
        constants = {f"{kind}_periodicities": [n for _, n, _ in keys], f"{kind}_phases": [phase for _, _, phase in keys]}
        return {declared.fields[0]: np.zeros(n_types), **constants}
    if kind == "vdw":
        return {field: [key[1 + column] for key in keys] for column, field in enumerate(declared.fields)}
    if kind == "harmonic_dihedral":
        return dict(zip(declared.fields, (np.full(n_types, START_STIFF_TORSION), [key[1] for key in keys]), strict=True))
    if kind in _STARTS:
        means = type_means(types, values, np.zeros(n_types))
        pinned = [kind == "angle" and key[1] for key in keys]
        return dict(zip(declared.fields, (np.full(n_types, _STARTS[kind]), np.where(pinned, 180.0, means)), strict=True))
    return {declared.fields[0]: np.zeros(n_types)}


def _limits(
    kind: str,
    keys: list[tuple],
    types: list[np.ndarray],
    values: list[np.ndarray],
    margins: tuple[float, ...] | None,
) -> dict[str, np.ndarray]:
    """Bounds of equilibria: of pinned ones their value, of others what the molecules show, and a margin."""
    if kind == "harmonic_dihedral":
        return {"harmonic_dihedral_values": np.array([[key[1]] * 2 for key in keys]).reshape(-1, 2)}
    if kind not in _STARTS:
        return {}
    field = KINDS[kind].fields[1]
    margin = (margins or _LEAST_MARGINS)[kind == "angle"]
    nothing = parameter_fields()[field].bounds if margins is None else (np.inf, -np.inf)
    limits = np.tile(np.array(nothing), (len(keys), 1))
    all_types, all_values = np.concatenate(types), np.concatenate(values)
    np.minimum.at(limits[:, 0], all_types, all_values - margin)
    np.maximum.at(limits[:, 1], all_types, all_values + margin)
    if kind == "angle":
        limits = np.clip(limits, 0.0, 180.0)
        limits[[key[1] for key in keys]] = 180.0
    return {field: limits}

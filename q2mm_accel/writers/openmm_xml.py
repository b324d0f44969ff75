"""OpenMM ForceField XML: residue templates with types of atoms, and the parameters of tuples of types.

`openmm.app.ForceField(path).createSystem(topology, nonbondedMethod=NoCutoff)` gives our energy; `openmm_topology` is such a
topology. OpenMM finds out by elements and bonds which atom of a residue is which of its template, names do not count: where
atoms that it cannot tell apart have different types (the hydrogens of an alkene, cis and trans), those of the topology must
stand in the order of the molecule, and the file has a script that refuses any other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import (
    CHARGE_SCALE,
    IN_OPENMM,
    MINIMUM_TO_SIGMA,
    NM,
    formula_of,
    lorentz_berthelot,
    openmm_package,
    vdw_formula,
)
from q2mm_accel.kernel import potentials
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Kind, form_named
from q2mm_accel.model.system import System
from q2mm_accel.units import KCAL_TO_KJ
from q2mm_accel.writers.atom_types import STARS, AtomTypes, atom_types
from q2mm_accel.writers.holding import BY_ATOMS, check_held, refusal
from q2mm_accel.writers.names import atom_names, residue_names
from q2mm_accel.writers.nonbonded import common_factor
from q2mm_accel.writers.typed import central_places, declared_kind, single_types

if TYPE_CHECKING:
    from openmm.app import Topology

_SUFFIX = ".xml"
_SCRIPT = """
for residue, template in templateForResidue.items():
    if template.name in {0}:
        order = [data.atomTemplateIndexes[atom] for atom in residue.atoms()]
        names = [atom.name for atom in residue.atoms()]
        known = [atom.name for atom in template.atoms]
        if order != sorted(order) or (names != known and sorted(names) == sorted(known)):
            raise ValueError("residue %s: its atoms must stand in the order of the template %s, %s, which tells apart more "
                             "of them than elements and bonds do" % (residue.name, template.name, " ".join(known)))
"""
"""What OpenMM runs after it has made a System."""
_CUSTOM = {"bond": "Bond", "angle": "Angle", "harmonic_dihedral": "Proper", "harmonic_improper": "Improper"}
"""Kind -> OpenMM's name of its entries in a custom force."""
_RADII = {
    potentials.geometric_mean: "sqrt({0}1*{0}2)",
    potentials.arithmetic_mean: "0.5*({0}1 + {0}2)",
    potentials.total: "({0}1 + {0}2)",
}
"""How a form combines radii -> the formula."""


def openmm_xml(systems: Sequence[System], forcefield: ForceField) -> str:
    """The text of an OpenMM ForceField file.

    Args:
        systems: the molecules; conformers share a template.
        forcefield: parameters of their terms.

    Raises:
        FormatError: a term that the format cannot hold, or molecules that OpenMM cannot tell apart.
    """
    check_held(_SUFFIX, systems, forcefield)
    types = atom_types(systems, forcefield, _SUFFIX)
    _check_told_apart(types)
    root = ElementTree.Element("ForceField")
    _add_templates(root, types)
    for kind in ("bond", "angle", "urey_bradley", "harmonic_dihedral", "harmonic_improper"):
        _add_springs(root, types, forcefield, kind)
    _add_cosines(root, types, forcefield)
    _add_pairs(root, types, forcefield)
    _add_script(root, types)
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def openmm_topology(system: System) -> "Topology":
    """A molecule as an OpenMM Topology, with the names of atoms that our files have."""
    openmm_package()
    from openmm.app import Element, Topology

    made = Topology()
    residue = made.addResidue(residue_names(1)[0], made.addChain())
    elements = map(Element.getBySymbol, system.molecule.symbols)
    atoms = [made.addAtom(*each, residue) for each in zip(atom_names(system.molecule), elements, strict=True)]
    for first, second in system.bond_atoms.tolist():
        made.addBond(atoms[first], atoms[second])
    return made


def _bond_colours(system: System) -> list[str]:
    """What tells atoms apart for OpenMM: elements and bonds, by refinement; equal where they are alike or seem so."""
    near = topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
    colours: list[str] = list(system.molecule.symbols)
    for _ in colours:
        signs = [f"{own}({sorted(colours[atom] for atom in around)})" for own, around in zip(colours, near, strict=True)]
        numbers = {sign: str(number) for number, sign in enumerate(sorted(set(signs)))}
        colours = [numbers[sign] for sign in signs]
    return colours


def _check_told_apart(types: AtomTypes) -> None:
    """Check that no two templates have the same bonds between the same elements: OpenMM would refuse to choose."""
    seen: dict[str, System] = {}
    for system in types.molecules:
        colours = _bond_colours(system)
        elements = Counter(zip(colours, system.molecule.symbols, strict=True))
        bonds = Counter(tuple(sorted((colours[i], colours[j]))) for i, j in system.bond_atoms.tolist())
        key = f"{sorted(elements.items())} {sorted(bonds.items())}"
        if key in seen:
            raise FormatError(
                f"{system.molecule.name} and {seen[key].molecule.name} have the same bonds but other terms: OpenMM could "
                "not choose between their templates in one .xml. Write one file for each, or give both the same terms."
            )
        seen[key] = system


def _add_script(root: ElementTree.Element, types: AtomTypes) -> None:
    """Have OpenMM refuse other orders of atoms than ours where bonds alone do not tell their types apart."""
    ordered = []
    for number, name in enumerate(residue_names(len(types.molecules))):
        classes: dict[str, set[int]] = {}
        for colour, each in zip(_bond_colours(types.molecules[number]), types.of_atoms[number], strict=True):
            classes.setdefault(colour, set()).add(each)
        if any(len(each) > 1 for each in classes.values()):
            ordered.append(name)
    if ordered:
        ElementTree.SubElement(root, "Script").text = _SCRIPT.format(ordered)


def _add_templates(root: ElementTree.Element, types: AtomTypes) -> None:
    classes = ElementTree.SubElement(root, "AtomTypes")
    for name, (number, atom) in zip(types.names, types.examples, strict=True):
        molecule = types.molecules[number].molecule
        entry = {"name": name, "class": name, "element": molecule.symbols[atom], "mass": repr(float(molecule.masses[atom]))}
        ElementTree.SubElement(classes, "Type", entry)
    residues = ElementTree.SubElement(root, "Residues")
    for number, (system, name) in enumerate(zip(types.molecules, residue_names(len(types.molecules)), strict=True)):
        residue = ElementTree.SubElement(residues, "Residue", {"name": name})
        names = atom_names(system.molecule)
        for atom, each in enumerate(names):
            ElementTree.SubElement(residue, "Atom", {"name": each, "type": types.name_of(number, atom)})
        # in this order OpenMM's search finds each atom in its own place first
        for i, j in sorted(tuple(sorted(pair)) for pair in system.bond_atoms.tolist()):
            ElementTree.SubElement(residue, "Bond", {"atomName1": names[i], "atomName2": names[j]})


def _values(forcefield: ForceField, kind: Kind, number: int) -> list[float]:
    """Parameters and constants of a type in OpenMM's units."""
    declared = (*kind.parameters, *kind.constants)
    return [float(getattr(forcefield, each.field)[number]) * IN_OPENMM[each.unit] for each in declared]


def _classes(names: Iterable[str]) -> dict[str, str]:
    return {f"type{place}": name for place, name in enumerate(names, 1)}


def _entries(types: AtomTypes, forcefield: ForceField, kind: str) -> dict[tuple[str, ...], int]:
    """Names of classes -> the type of their terms, of a kind that may have one for the same atoms."""
    found = single_types(types, forcefield, kind, _SUFFIX)
    return {tuple(types.names[each] for each in row): number for row, number in found.items()}


def _add_springs(root: ElementTree.Element, types: AtomTypes, forcefield: ForceField, kind_name: str) -> None:
    """Bonds, angles, Urey-Bradley terms and harmonic dihedrals."""
    kind, entries = declared_kind(kind_name), _entries(types, forcefield, kind_name)
    if not entries:
        return
    formula = formula_of(kind, form_named(forcefield.form))
    if kind_name == "urey_bradley":  # OpenMM doubles this one's constant
        force = ElementTree.SubElement(root, "AmoebaUreyBradleyForce")
        for names, number in entries.items():
            k, length = _values(forcefield, kind, number)
            ElementTree.SubElement(force, "UreyBradley", _classes(names) | {"k": repr(k), "d": repr(length)})
    elif formula is None:
        force = ElementTree.SubElement(root, {"bond": "HarmonicBondForce", "angle": "HarmonicAngleForce"}[kind_name])
        what = {"bond": ("Bond", "length"), "angle": ("Angle", "angle")}[kind_name]
        for names, number in entries.items():
            k, rest = _values(forcefield, kind, number)
            ElementTree.SubElement(force, what[0], _classes(names) | {what[1]: repr(rest), "k": repr(2.0 * k)})
    else:
        _add_custom(
            root, kind, formula.text, formula.names, entries, lambda number: _values(forcefield, kind, number), types
        )


def _add_custom(
    root: ElementTree.Element,
    kind: Kind,
    text: str,
    names: Sequence[str],
    entries: dict[tuple[str, ...], int],
    values: Callable[[int], list[float]],
    types: AtomTypes,
) -> None:
    """A custom force of a formula; stars in the two places in which OpenMM may have the central atom."""
    what = _CUSTOM[kind.name]
    family = {"Bond": "Bond", "Angle": "Angle"}.get(what, "Torsion")
    groups = _by_ordering(types, kind.name, entries) if kind.name in STARS else {"": entries}
    for ordering, group in groups.items():
        force = ElementTree.SubElement(root, f"Custom{family}Force", {"energy": text} | _ordering(ordering))
        for name in names:
            ElementTree.SubElement(force, f"Per{family}Parameter", {"name": name})
        for row, number in group.items():
            own = {name: repr(value) for name, value in zip(names, values(number), strict=True)}
            ElementTree.SubElement(force, what, _classes(row) | own)


def _ordering(ordering: str) -> dict[str, str]:
    return {"ordering": ordering} if ordering else {}


def _by_ordering(types: AtomTypes, kind: str, entries: dict) -> dict[str, dict]:
    """Stars with the central class first, as OpenMM wants them: central atoms third ("amber") and last ("charmm")."""
    places = central_places(types, kind)
    centres = {tuple(types.names[each] for each in row): place for row, place in places.items()}
    groups: dict[str, dict] = {}
    for names, found in entries.items():
        a, b, c, d = names
        if centres[names] == 2:
            groups.setdefault("amber", {})[c, a, b, d] = found
        else:
            groups.setdefault("charmm", {})[d, c, b, a] = found
    return groups


def _add_cosines(root: ElementTree.Element, types: AtomTypes, forcefield: ForceField) -> None:
    """Torsions, and impropers in the orders in which OpenMM may have their atoms."""
    groups = [("", "Proper", "torsion", _named(types, "torsion"))]
    groups += [
        (ordering, "Improper", "improper", group)
        for ordering, group in _by_ordering(types, "improper", _named(types, "improper")).items()
    ]
    for ordering, what, name, group in groups:
        if not group:
            continue
        kind = declared_kind(name)
        force = ElementTree.SubElement(root, "PeriodicTorsionForce", _ordering(ordering))
        for row, numbers in group.items():
            entry = _classes(row)
            for place, number in enumerate(numbers, 1):
                k, periodicity, phase = _values(forcefield, kind, number)
                own = {"periodicity": str(round(periodicity)), "phase": repr(phase), "k": repr(k)}
                entry |= {f"{key}{place}": value for key, value in own.items()}
            ElementTree.SubElement(force, what, entry)


def _named(types: AtomTypes, kind: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {tuple(types.names[each] for each in row): numbers for row, numbers in types.tuples(kind).items()}


def _add_pairs(root: ElementTree.Element, types: AtomTypes, forcefield: ForceField) -> None:
    """Charges and van der Waals pairs: one force where the form combines as Amber does, else two."""
    form, systems = form_named(forcefield.form), types.molecules
    held = {kind for system in systems for kind in system.pair_kinds}
    held |= {"coulomb" for system in systems if len(system.coulomb_types)}
    scales = {kind: common_factor(systems, forcefield, kind, _SUFFIX) for kind in held}
    together = "vdw" in held and lorentz_berthelot(form)
    if together or "coulomb" in held:
        scale = {"coulomb14scale": repr(scales.get("coulomb", 1.0)), "lj14scale": repr(scales["vdw"] if together else 1.0)}
        force = ElementTree.SubElement(root, "NonbondedForce", scale)
        for name, (number, atom) in zip(types.names, types.examples, strict=True):
            radius, depth = _vdw_of(systems[number], atom, forcefield) if together else (0.5, 0.0)
            charge = _charge_of(systems[number], atom, forcefield)
            own = {"charge": charge, "sigma": MINIMUM_TO_SIGMA * radius * NM, "epsilon": depth * KCAL_TO_KJ}
            ElementTree.SubElement(force, "Atom", {"type": name} | {key: repr(float(value)) for key, value in own.items()})
    if "vdw" in held and not together:
        _add_custom_pairs(root, types, forcefield, scales["vdw"])


def _add_custom_pairs(root: ElementTree.Element, types: AtomTypes, forcefield: ForceField, scale: float) -> None:
    """Van der Waals pairs by a formula, 1-4 pairs in full or not at all."""
    form = form_named(forcefield.form)
    if scale not in (0.0, 1.0):
        system = next(system for system in types.molecules if "vdw" in system.pair_kinds)
        why = "scales pairs three bonds apart only where radii combine arithmetically, as in the form 'amber'"
        raise refusal(_SUFFIX, system, forcefield, "vdw", 0, why, BY_ATOMS)
    radii = _RADII[form.combinations["vdw_radii"]].format("radius")
    energy = f"{vdw_formula(form).text}; radius = {radii}; epsilon = sqrt(epsilon1*epsilon2)"
    force = ElementTree.SubElement(
        root, "CustomNonbondedForce", {"energy": energy, "bondCutoff": "3" if scale == 0.0 else "2"}
    )
    for name in ("radius", "epsilon"):
        ElementTree.SubElement(force, "PerParticleParameter", {"name": name})
    for name, (number, atom) in zip(types.names, types.examples, strict=True):
        radius, depth = _vdw_of(types.molecules[number], atom, forcefield)
        own = {"radius": repr(radius * NM), "epsilon": repr(depth * KCAL_TO_KJ)}
        ElementTree.SubElement(force, "Atom", {"type": name} | own)


def _vdw_of(system: System, atom: int, forcefield: ForceField) -> tuple[float, float]:
    """Radius [Å] and well depth [kcal/mol] of an atom; a depth of 0 where it has none."""
    if not len(system.vdw_types):
        return 0.5, 0.0
    number = system.vdw_types[atom]
    return float(forcefield.vdw_radii[number]), float(forcefield.vdw_epsilons[number])


def _charge_of(system: System, atom: int, forcefield: ForceField) -> float:
    """Charge of an atom for OpenMM [e]."""
    if not len(system.coulomb_types):
        return 0.0
    return float(forcefield.coulomb_charges[system.coulomb_types[atom]]) * CHARGE_SCALE

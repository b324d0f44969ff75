"""One function for all formats: the suffix says which."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from q2mm_accel.errors import FormatError, OutputError, ParameterError, TopologyError
from q2mm_accel.interop.openmm_build import openmm_package
from q2mm_accel.interop.openmm_systems import to_openmm
from q2mm_accel.io.atomic import check_writable, checked_path, replace_file
from q2mm_accel.io.results import forcefield_text
from q2mm_accel.model.arguments import as_tuple, instance
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.system import System
from q2mm_accel.problem.checks import check_terms
from q2mm_accel.writers.amber_frcmod import amber_frcmod
from q2mm_accel.writers.amber_prmtop import amber_prmtop
from q2mm_accel.writers.atom_types import distinct
from q2mm_accel.writers.gromacs_top import gromacs_gro, gromacs_itp, gromacs_top
from q2mm_accel.writers.mm3_fld import mm3_fld
from q2mm_accel.writers.nonbonded import ordinary
from q2mm_accel.writers.openmm_xml import openmm_xml
from q2mm_accel.writers.prmtop_template import changed_prmtop
from q2mm_accel.writers.tinker_prm import tinker_prm, tinker_xyz

Files = Mapping[str, str]
"""Texts: that of the file itself by its suffix, and others by what is appended to its name."""


def write_forcefield(
    path: str | os.PathLike,
    forcefield: ForceField,
    systems: Sequence[System] | System = (),
    template: str | os.PathLike | None = None,
) -> None:
    """Write a force field as a file that other programs read.

    Args:
        path: its suffix says the format: .json (our own, every number exact), .xml (OpenMM ForceField), .system.xml
            (OpenMM System of one molecule), .prmtop or .parm7 (AMBER, one molecule), .frcmod (AMBER), .top (GROMACS, one
            molecule), .itp (GROMACS, to be included), .fld (MM3*) or .prm (Tinker). Where types of atoms or coordinates need
            a file of their own, it stands beside it with a longer name: x.top.gro, x.prm.xyz, x.frcmod.mol2, x.fld.mol2,
            and x.frcmod.1.mol2 and so on for several molecules.
        forcefield: the force field.
        systems: the molecules with their terms, which every format but .json needs; conformers of one molecule are one.
        template: a user's .prmtop, of which the new one is a copy with other parameters.

    Raises:
        FormatError: an unknown suffix, no or too many systems, or something that the format cannot hold, with its name and
            the formats that can.
        TopologyError, ParameterError: no systems or no force field, or a term without a type.
        OutputError: the file cannot be written.
        MissingPackageError: OpenMM is not installed, which .system.xml needs.
    """
    target = checked_path(path, OutputError)
    instance(forcefield, ForceField, "forcefield", ParameterError)
    given = as_tuple(systems, System, "systems", TopologyError)
    suffix = _suffix(target)
    if suffix != ".json":
        if not given:
            raise FormatError(f"{target}: {suffix} has the atoms of molecules in it. Pass them: systems=[...].")
        check_terms(given, forcefield)
    if template is not None and suffix != ".prmtop":
        raise FormatError(f"{target}: {suffix} takes no template; only .prmtop does.")
    given = given if suffix in _AS_GIVEN else tuple(ordinary(system, forcefield) for system in given)
    files = _from_template(target, forcefield, given, template) if template else _WRITERS[suffix](given, forcefield)
    names = {target if beside == suffix else target.with_name(target.name + beside): text for beside, text in files.items()}
    for name in names:
        check_writable(name)
    for name, text in names.items():
        replace_file(name, text.encode(errors="surrogateescape"))


def _ending(path: Path) -> str:
    """The suffix as it stands in a name."""
    return next((each for each in _ENDINGS if path.name.lower().endswith(each)), path.suffix)


def _suffix(path: Path) -> str:
    """The format, by one of its suffixes."""
    ending = _ending(path).lower()
    if ending not in _ENDINGS or path.name.lower() == ending:
        raise FormatError(f"{path}: its suffix {ending!r} names no format of force fields; known are {', '.join(_ENDINGS)}.")
    return _ENDINGS[ending]


def _one(systems: Sequence[System], suffix: str) -> System:
    """The only molecule.

    Raises:
        FormatError: there are several.
    """
    molecules, _ = distinct(systems)
    if len(molecules) > 1:
        names = ", ".join(dict.fromkeys(system.molecule.name for system in molecules))
        raise FormatError(f"{suffix} holds one molecule, and these are {len(molecules)}: {names}. Write a file for each.")
    return molecules[0]


def _from_template(target: Path, forcefield: ForceField, systems: Sequence[System], template: str | os.PathLike) -> Files:
    name = checked_path(template, FormatError)
    try:
        text = name.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise FormatError(f"the template {name} cannot be read: {error.strerror or error}.") from error
    return {".prmtop": changed_prmtop(text, str(name), _one(systems, ".prmtop"), forcefield)}


def _json(systems: Sequence[System], forcefield: ForceField) -> Files:
    return {".json": forcefield_text(forcefield, systems)}


def _xml(systems: Sequence[System], forcefield: ForceField) -> Files:
    return {".xml": openmm_xml(systems, forcefield)}


def _system_xml(systems: Sequence[System], forcefield: ForceField) -> Files:
    system = to_openmm(_one(systems, ".system.xml"), forcefield)
    return {".system.xml": openmm_package().XmlSerializer.serialize(system)}


def _prmtop(systems: Sequence[System], forcefield: ForceField) -> Files:
    return {".prmtop": amber_prmtop(_one(systems, ".prmtop"), forcefield)}


def _top(systems: Sequence[System], forcefield: ForceField) -> Files:
    system = _one(systems, ".top")
    return {".top": gromacs_top(system, forcefield), ".gro": gromacs_gro(system)}


def _itp(systems: Sequence[System], forcefield: ForceField) -> Files:
    return {".itp": gromacs_itp(systems, forcefield)}


def _frcmod(systems: Sequence[System], forcefield: ForceField) -> Files:
    text, molecules = amber_frcmod(systems, forcefield)
    return {".frcmod": text, **_numbered(".mol2", molecules)}


def _fld(systems: Sequence[System], forcefield: ForceField) -> Files:
    text, molecules = mm3_fld(systems, forcefield)
    return {".fld": text, **_numbered(".mol2", molecules)}


def _prm(systems: Sequence[System], forcefield: ForceField) -> Files:
    text, types = tinker_prm(systems, forcefield)
    return {".prm": text, **_numbered(".xyz", [tinker_xyz(types, number) for number in range(len(types.molecules))])}


def _numbered(suffix: str, texts: Sequence[str]) -> Files:
    """One file beside another, or several with numbers."""
    return {suffix if len(texts) == 1 else f".{number}{suffix}": text for number, text in enumerate(texts, 1)}


_WRITERS: Mapping[str, Callable[[Sequence[System], ForceField], Files]] = {
    ".json": _json,
    ".xml": _xml,
    ".system.xml": _system_xml,
    ".prmtop": _prmtop,
    ".top": _top,
    ".itp": _itp,
    ".frcmod": _frcmod,
    ".fld": _fld,
    ".prm": _prm,
}
_AS_GIVEN = (".json", ".system.xml")
"""Formats in which pairs may have any values."""
_ENDINGS = {".system.xml": ".system.xml", ".parm7": ".prmtop", **{suffix: suffix for suffix in _WRITERS}}
"""Suffixes, longer ones first, and the formats that they name."""

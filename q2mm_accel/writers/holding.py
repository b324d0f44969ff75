"""What each file format can hold, and the refusal of everything else."""

from collections.abc import Callable, Mapping, Sequence

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import has_formula
from q2mm_accel.kernel import potentials
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Form, form_named, kind_named
from q2mm_accel.model.system import System

_BONDED: Mapping[str, Callable] = {
    "bond": potentials.harmonic,
    "angle": potentials.harmonic,
    "torsion": potentials.cosine_torsion,
    "improper": potentials.cosine_torsion,
}
_SPRINGS: Mapping[str, Callable] = dict.fromkeys(
    ("urey_bradley", "harmonic_dihedral", "harmonic_improper"), potentials.harmonic
)
_PAIRS: Mapping[str, Callable] = {"vdw": potentials.lennard_jones, "coulomb": potentials.coulomb}
_MM3: Mapping[str, Callable] = {
    "bond": potentials.mm3_bond,
    "angle": potentials.mm3_angle,
    "vdw": potentials.mm3_vdw,
}
_COSINES = {kind: potentials.cosine_torsion for kind in ("torsion", "improper")}

HOLDS: Mapping[str, tuple[Mapping[str, Callable], ...]] = {
    ".xml": (_BONDED, _SPRINGS, _PAIRS, _MM3),
    ".prmtop": (_BONDED, _SPRINGS, _PAIRS, {"special_vdw": potentials.lennard_jones}),
    ".top": (
        _BONDED,
        _SPRINGS,
        _PAIRS,
        {"special_vdw": potentials.lennard_jones, "stretch_stretch": potentials.stretch_stretch},
    ),
    ".frcmod": (_BONDED, _PAIRS),
    ".prm": (_BONDED, _PAIRS, _MM3, {"urey_bradley": potentials.harmonic}),
    ".fld": (_MM3, _COSINES),
}
"""Suffix -> the energies of kinds that files of it can hold, in OpenMM ForceField XML, Amber topologies, GROMACS topologies,
Amber parameter modifications, Tinker parameters and MM3*'s. Our JSON holds every kind, and serialized OpenMM Systems every
one that OpenMM has a formula for."""


def holding(kind: str, form: Form) -> list[str]:
    """Suffixes of the formats that hold a kind as it is in a form."""
    energy, measured = form.energies[kind], kind not in form.coordinates
    typed = [suffix for suffix, parts in HOLDS.items() if measured and any(part.get(kind) is energy for part in parts)]
    return [".json", *([".system.xml"] if has_formula(kind_named(kind), form) else []), *typed]


def check_held(suffix: str, systems: Sequence[System], forcefield: ForceField) -> None:
    """Check that a format has the energies of all terms.

    Raises:
        FormatError: it has not; the message names the terms, an example, and the formats that have.
    """
    form = form_named(forcefield.form)
    for system in systems:
        for kind in (*system.kinds, *system.pair_kinds):
            if suffix not in holding(kind, form):
                raise refusal(suffix, system, forcefield, kind, 0, "has no such energy")


def refusal(
    suffix: str, system: System, forcefield: ForceField, kind: str, term: int, why: str, others: Sequence[str] | None = None
) -> FormatError:
    """The error for a term that a format cannot hold.

    Args:
        suffix: of the format.
        system: whose term it is.
        forcefield: of the term.
        kind: of the term, or of the pair.
        term: its number.
        why: a half sentence about the format.
        others: suffixes of formats that can hold it; by default all that have the energy.
    """
    form, count = form_named(forcefield.form), _count(system, kind)
    label, atoms = term_label(system, forcefield, kind, term)
    able = [each for each in (holding(kind, form) if others is None else others) if each != suffix]
    return FormatError(
        f"{system.molecule.name}: {suffix} cannot hold {kind} {term} of {count}, {label!r} of the atoms {atoms}: the format "
        f"{why}. Write {', '.join(able)}, or leave such terms out of the System."
    )


def term_label(system: System, forcefield: ForceField, kind: str, term: int) -> tuple[str, list[int]]:
    """The label of a term's first parameter, and its atoms; of a pair that of its first atom's."""
    if kind in system.pair_kinds:
        atoms, types, _ = system.pairs(kind)
        number = types[atoms[term, 0]]
    else:
        atoms, numbers = system.terms(kind)
        number = numbers[term]
    return forcefield.labels[forcefield.positions(kind)[number, 0]], atoms[term].tolist()


def _count(system: System, kind: str) -> int:
    return len(system.pairs(kind).atoms if kind in system.pair_kinds else system.terms(kind)[1])

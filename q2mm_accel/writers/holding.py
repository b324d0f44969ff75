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
    ".fld": (_MM3, {"torsion": potentials.cosine_torsion}),
}
"""Suffix -> the energies of kinds that files of it can hold, in OpenMM ForceField XML, Amber topologies, GROMACS topologies,
Amber parameter modifications, Tinker parameters and MM3*'s. Our JSON holds every kind, and serialized OpenMM Systems every
one that OpenMM has a formula for."""


BY_ATOMS = (".json", ".system.xml", ".prmtop", ".top")
"""Formats that list terms by atoms, so that types of atoms do not limit them."""


def holding(kind: str, form: Form) -> list[str]:
    """Suffixes of the formats that hold a kind as it is in a form."""
    energy, measured = form.energies[kind], kind not in form.coordinates
    typed = [suffix for suffix, parts in HOLDS.items() if measured and any(part.get(kind) is energy for part in parts)]
    return [".json", *([".system.xml"] if has_formula(kind_named(kind), form) else []), *typed]


def check_held(suffix: str, systems: Sequence[System], forcefield: ForceField, backgrounds: bool = False) -> None:
    """Check that a format has the energies of all terms.

    Args:
        suffix: of the format.
        systems: the molecules with their terms.
        forcefield: parameters of the terms.
        backgrounds: whether what is behind backgrounds stands in the file anyhow, as in a template.

    Raises:
        FormatError: it has not; the message names the terms, an example, and the formats that have. Or a background.
    """
    form = form_named(forcefield.form)
    for system in systems:
        if system.background is not None and not backgrounds:
            raise FormatError(
                f"{system.molecule.name}: {suffix} cannot hold a background, which is numbers at one geometry. For a system "
                "that came from from_openmm .system.xml keeps the forces behind it, and a .prmtop template does. Or leave "
                "it out, with_background(None)."
            )
        for kind in (*system.kinds, *system.pair_kinds):
            if suffix not in holding(kind, form):
                raise refusal(
                    suffix, system, forcefield, kind, 0, f"has no such energy, that of the form {forcefield.form!r}"
                )


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
        others: suffixes of formats that are better there; by default all.
    """
    label, atoms = term_label(system, forcefield, kind, term)
    count = len(system.pairs(kind).atoms if kind in system.pair_kinds else system.terms(kind)[1])
    return FormatError(
        f"{system.molecule.name}: {suffix} cannot hold {kind} {term} of {count}, {label!r} of the atoms {atoms}: the format "
        f"{why}. Write {able(suffix, system, forcefield, others)}, or leave such terms out of the System."
    )


def able(suffix: str, system: System, forcefield: ForceField, others: Sequence[str] | None = None) -> str:
    """Formats other than one that hold all kinds of terms of a system, in words; out of `others` if they are given."""
    form = form_named(forcefield.form)
    found = [".json", ".system.xml", *HOLDS] if others is None else [*others]
    for kind in (*system.kinds, *system.pair_kinds):
        found = [each for each in found if each in holding(kind, form)]
    return ", ".join(each for each in found if each != suffix)


def term_label(system: System, forcefield: ForceField, kind: str, term: int) -> tuple[str, list[int]]:
    """The label of a term's first parameter, and its atoms; of a pair that of its first atom's."""
    if kind in system.pair_kinds:
        atoms, types, _ = system.pairs(kind)
        number = types[atoms[term, 0]]
    else:
        atoms, numbers = system.terms(kind)
        number = numbers[term]
    return forcefield.labels[forcefield.positions(kind)[number, 0]], atoms[term].tolist()

"""What a format cannot hold is refused with its name, an example and the formats that can; and nothing is written then."""

from dataclasses import replace

import numpy as np
import pytest
from kinds_cases import damped_form, everything, forgotten_after
from writer_cases import READERS, problem

from q2mm_accel import Background, Coordinate, ForceField, Kind, Parameter, System, register_kind, write_forcefield
from q2mm_accel.errors import FormatError, InteropError, OutputError, ParameterError, TopologyError
from q2mm_accel.io.results import forcefield_text, read_forcefield
from q2mm_accel.model.kinds import KINDS, form_named
from q2mm_accel.writers.holding import BY_ATOMS, HOLDS, holding

SUFFIXES = [".json", ".system.xml", *HOLDS]


def only(system, kind):
    """Bonds and angles, which others need, and the terms of one kind."""
    kept = ("bond", "angle", kind)
    arrays = {name: array for name, array in system.arrays.items() if name.rpartition("_")[0] in kept}
    return System(system.molecule, arrays=arrays)


@pytest.mark.parametrize("form", ["harmonic", "mm3", "amber"])
def test_every_kind_is_written_or_refused_by_name(form, tmp_path):
    """As the table of what formats hold says, and the message names the formats that hold the kind."""
    (whole,), forcefield = everything(form, names=("methanol",))
    refused = 0
    for kind in KINDS:
        system, form_of = only(whole, kind), form_named(form)
        able = [suffix for suffix in SUFFIXES if all(suffix in holding(each, form_of) for each in ("bond", "angle", kind))]
        for suffix in SUFFIXES:
            path = tmp_path / f"{kind}{suffix}"
            if suffix in able and kind not in _NOT_HERE.get(suffix, ()):
                write_forcefield(path, forcefield, system)
                continue
            refused += 1
            with pytest.raises(FormatError) as caught:
                write_forcefield(path, forcefield, system)
            better = BY_ATOMS if suffix in able else SUFFIXES
            words = ["methanol", suffix, "[", *(each for each in able if each != suffix and each in better)]
            words += [kind] if suffix in holding("bond", form_of) else ["bond 0 of"]
            assert all(word in str(caught.value) for word in words), caught.value
            assert not path.exists()
    assert refused > 10


_PAIRS = ("vdw", "coulomb")
_NOT_HERE = {
    ".xml": (*_PAIRS, "torsion", "harmonic_dihedral"),
    ".prm": (*_PAIRS, "torsion", "improper"),
    ".frcmod": (*_PAIRS, "torsion", "improper"),
    ".fld": ("vdw", "torsion"),
}
"""Kinds whose terms in this molecule are not where bonds lead, or whose pairs have factors of all sorts."""


@pytest.mark.parametrize("suffix", [".xml", ".prm", ".frcmod"])
def test_factors_that_differ_are_refused_where_there_is_one(suffix, tmp_path):
    system, forcefield = problem("ethane", "amber")
    factors = np.array(system.vdw_factors)
    factors[0] = 0.75
    uneven = replace(system, vdw_factors=factors)
    with pytest.raises(FormatError, match=r"ethane: the vdw pair .*, 3 bonds apart, .*factor 0\.\d+; "):
        write_forcefield(tmp_path / f"a{suffix}", forcefield, uneven)
    missing = replace(system, vdw_pairs=system.vdw_pairs[:-1], vdw_factors=system.vdw_factors[:-1])
    with pytest.raises(FormatError, match=r"\(no vdw pair\), 3 bonds apart, counts with the factor 0"):
        write_forcefield(tmp_path / f"a{suffix}", forcefield, missing)


def torsions(periodicity, phase):
    """Ethane with torsions of one sort."""
    system, forcefield = problem("ethane", "mm3", periodicities=(1,))
    return system, replace(forcefield, torsion_periodicities=[periodicity], torsion_phases=[phase])


def test_periodicities_and_phases_that_a_format_has_not(tmp_path):
    for suffix, periodicity, phase in ((".prm", 7, 0.0), (".fld", 4, 0.0), (".fld", 3, 30.0)):
        system, forcefield = torsions(periodicity, phase)
        with pytest.raises(FormatError, match=rf"ethane: {suffix} cannot hold torsion .*{periodicity}.*\.xml"):
            write_forcefield(tmp_path / f"a{suffix}", forcefield, system)
    system, forcefield = torsions(3, 0.0)
    atoms = np.repeat(system.torsion_atoms, 2, axis=0)
    twice = replace(system, torsion_atoms=atoms, torsion_types=np.tile([0, 1], len(system.torsion_atoms)))
    two = {"torsion_force_constants": [1.0, 0.5], "torsion_periodicities": [3, 3], "torsion_phases": [0.0, 90.0]}
    forcefield = ForceField("mm3", arrays={**forcefield.arrays, **two})
    with pytest.raises(FormatError, match="no periodicity 3 twice"):
        write_forcefield(tmp_path / "a.prm", forcefield, twice)


def test_what_depends_on_the_molecule(tmp_path):
    linear, forcefield = problem("c2h2", "amber")
    with pytest.raises(FormatError, match="needs a torsion, and all atoms are in line"):
        write_forcefield(tmp_path / "a.prmtop", forcefield, linear)
    flat, of_flat = problem("formaldehyde", "mm3")
    with pytest.raises(FormatError, match=r"\.fld cannot hold improper 0 of 1, .*Write \.json, \.system\.xml, \.xml, \.prm"):
        write_forcefield(tmp_path / "a.fld", of_flat, flat)
    near, of_near = problem("ethane", "mm3")
    wide = replace(of_near, vdw_radii=of_near.vdw_radii * 2.0)
    with pytest.raises(FormatError, match=r"\.prm cannot hold vdw .* has another wall"):
        write_forcefield(tmp_path / "a.prm", wide, near)
    other, _ = problem("methanol", "harmonic")
    same_bonds = replace(other, torsion_atoms=other.torsion_atoms[:1], torsion_types=other.torsion_types[:1])
    with pytest.raises(FormatError, match="have the same bonds but other terms"):
        write_forcefield(tmp_path / "a.xml", problem("methanol", "harmonic")[1], [other, same_bonds])


def test_what_only_jax_knows(tmp_path):
    system, forcefield = problem("methanol", "harmonic")
    size = system.molecule.n_atoms
    background = Background(1.0, np.zeros((size, 3)), np.eye(3 * size))
    for suffix in SUFFIXES[1:]:
        with pytest.raises(InteropError, match="methanol: .*a background.* is numbers at one geometry"):
            write_forcefield(tmp_path / f"a{suffix}", forcefield, system.with_background(background))
    with forgotten_after():
        damped = ForceField(damped_form(), arrays=forcefield.arrays)
        write_forcefield(tmp_path / "a.system.xml", damped, system)
        with pytest.raises(FormatError, match=r"\.prmtop cannot hold torsion 0 .*'damped'. Write \.json, \.system\.xml, or"):
            write_forcefield(tmp_path / "a.prmtop", damped, system)
        own = Kind("own", 2, Coordinate("distance", (0, 1)), Parameter("own_constants", "k", "kcal/mol Å", (0.0, 9.0), 1.0))
        register_kind(own, lambda distance, k: k / distance)
        mine = System(system.molecule, arrays=system.arrays, own_atoms=[(0, 1)], own_types=[0])
        of_mine = ForceField("harmonic", arrays={**forcefield.arrays, "own_constants": [1.0]})
        with pytest.raises(FormatError, match=r"\.top cannot hold own 0 of 1, 'own 0 k' .*Write \.json, or leave"):
            write_forcefield(tmp_path / "a.top", of_mine, mine)


def test_calls_that_cannot_be_meant(tmp_path):
    system, forcefield = problem("methanol", "amber")
    other, _ = problem("ethane", "amber")
    calls = {
        "its suffix '.foo' names no format": (FormatError, "a.foo", forcefield, system),
        "its suffix '' names no format": (FormatError, "a", forcefield, system),
        ".xml has the atoms of molecules in it": (FormatError, "a.xml", forcefield, ()),
        "forcefield is 3": (ParameterError, "a.xml", 3, system),
        "systems[0] is a int": (TopologyError, "a.xml", forcefield, [3]),
        "has the type": (TopologyError, "a.xml", ForceField("amber"), system),
        ".prmtop holds one molecule, and these are 2": (FormatError, "a.prmtop", forcefield, [system, other]),
        "takes no template": (FormatError, "a.xml", forcefield, system, tmp_path / "a.prmtop"),
        "cannot be read: No such file": (FormatError, "a.prmtop", forcefield, system, tmp_path / "b.prmtop"),
        "there is no folder": (OutputError, "nowhere/a.xml", forcefield, system),
    }
    for message, (error, name, *arguments) in calls.items():
        with pytest.raises(error) as caught:
            write_forcefield(tmp_path / name, *arguments)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_nothing_is_written_if_a_file_beside_cannot_be(tmp_path):
    system, forcefield = problem("methanol", "amber")
    (tmp_path / "a.top.gro").mkdir()
    with pytest.raises(OutputError, match="a.top.gro cannot be written: it is a folder"):
        write_forcefield(tmp_path / "a.top", forcefield, system)
    assert [path.name for path in tmp_path.iterdir()] == ["a.top.gro"]


def test_a_name_does_no_harm(tmp_path):
    system, forcefield = problem("methanol", "amber")
    named = replace(system, molecule=replace(system.molecule, name='[ bonds ]\n#include "x" ; <&>%FLAG é'))
    for suffix, read in READERS.items():
        if suffix != ".fld":
            write_forcefield(tmp_path / f"a{suffix}", forcefield, named)
            assert read(tmp_path / f"a{suffix}", named).getNumParticles() == 6


def test_json_says_where_a_force_field_comes_from(tmp_path):
    system, forcefield = problem("methanol", "amber")
    text = forcefield_text(forcefield, [system])
    assert text == forcefield_text(forcefield, [system])
    assert all(word in text for word in ('"q2mm_accel": ', '"name": "methanol"', '"qm_data": "sha256:'))
    moved = replace(system, molecule=replace(system.molecule, coordinates=system.molecule.coordinates + 1.0))
    assert text != forcefield_text(forcefield, [moved])
    older = text[: text.index(',\n "provenance"')] + "\n}\n"
    (tmp_path / "older.json").write_text(older)
    np.testing.assert_array_equal(read_forcefield(tmp_path / "older.json").parameters, forcefield.parameters)

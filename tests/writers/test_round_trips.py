"""Files of every format, read back by readers of others, have the energy, the forces and the Hessian that were written.

What is written is compared with `build_openmm`, whose agreement with the kernel is tested in kernel/test_kinds_openmm.py.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
import tolerances
from kinds_cases import everything
from openmm_systems import ALANINE, amber, charmm
from oracles.openmm_engine import context_of, energy_of, forces_of
from writer_cases import READERS, evaluated, problem, read_prmtop, read_top, read_xml

from q2mm_accel import ForceField, Molecule, PairKind, System, from_openmm, perceive, to_openmm, write_forcefield
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import build_openmm, pair_values
from q2mm_accel.model.kinds import KINDS, term_kinds
from q2mm_accel.model.plausibility import CHECKS

LOWERED = {".fld": re.compile(r"Energies of \S+ are lower by (\S+) kcal/mol here")}
"""What a file says about its zero of energy."""
OUTER = (".xml", ".system.xml", ".prmtop", ".top", ".prm")
"""Formats that hold Urey-Bradley terms."""
REFUSED = {("mm3", ".fld", "formaldehyde"), ("amber", ".prmtop", "c2h2")}
"""An improper, and a pair that counts in part where all atoms are in line: see test_refusals.py."""
CASES = [
    (form, suffix, name)
    for form, suffixes in {
        "harmonic": (".xml", ".system.xml", ".prmtop", ".top", ".prm"),
        "mm3": (".xml", ".system.xml", ".prm", ".fld"),
        "amber": (".xml", ".system.xml", ".prmtop", ".top", ".prm", ".frcmod"),
    }.items()
    for suffix in suffixes
    for name in ("methanol", "formaldehyde", "c2h2")
    if (form, suffix, name) not in REFUSED
]
LONG = [(*case[:2], name) for case in CASES if case[2] == "methanol" for name in ("ch3f", "ethane", "h2o2", "hcn", "water")]


def assert_read_back(path, suffix, system, forcefield):
    """Compare what a reader makes of a file with the force field that was written."""
    ours = evaluated(build_openmm(system, forcefield), system)
    energy, forces, hessian = evaluated(READERS[suffix](path, system), system)
    if suffix in LOWERED and (said := LOWERED[suffix].search(path.read_text())):
        energy += float(said[1])
    errors = {
        "energy": abs(energy - ours[0]) / abs(ours[0]),
        "force": np.abs(forces - ours[1]).max() / np.abs(ours[1]).max(),
        "Hessian": np.abs(hessian - ours[2]).max() / np.abs(ours[2]).max(),
    }
    print(system.molecule.name, forcefield.form, suffix, {name: f"{error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= tolerances.READ_BACK, errors


@pytest.mark.parametrize(
    ("form", "suffix", "name"), CASES + [pytest.param(*case, marks=pytest.mark.exhaustive) for case in LONG]
)
def test_a_file_read_back_has_the_energy_that_was_written(form, suffix, name, tmp_path):
    system, forcefield = problem(name, form, urey_bradley=suffix in OUTER)
    write_forcefield(tmp_path / f"file{suffix}", forcefield, system)
    assert_read_back(tmp_path / f"file{suffix}", suffix, system, forcefield)


@pytest.mark.parametrize("form", ["harmonic", "amber"])
def test_topologies_hold_terms_and_pairs_of_any_kind_by_their_atoms(form, tmp_path):
    """Harmonic dihedrals, given pairs, factors that differ from pair to pair: all but couplings."""
    (system,), forcefield = everything(form, names=("methanol",))
    coupled = ("stretch", "bond_bend", "bend_bend")
    arrays = {field: array for field, array in system.arrays.items() if not field.startswith(coupled)}
    system = System(system.molecule, arrays=arrays)
    write_forcefield(tmp_path / "all.prmtop", forcefield, system)
    assert_read_back(tmp_path / "all.prmtop", ".prmtop", system, forcefield)
    pairs = np.concatenate([system.coulomb_pairs, system.special_vdw_atoms])
    usual = replace(system, coulomb_pairs=pairs, coulomb_factors=np.full(len(pairs), 1.0 / 1.2))  # OpenMM reads one factor
    write_forcefield(tmp_path / "all.top", forcefield, usual)
    assert_read_back(tmp_path / "all.top", ".top", usual, forcefield)


def test_several_molecules_and_conformers_share_a_file_and_its_types(tmp_path):
    """Also an .itp, included after the lines that it asks for."""
    molecules = [load_molecule(name) for name in ("methanol", "ethane", "methanol")]
    systems, forcefield = perceive(molecules, form="amber", vdw=True)
    write_forcefield(tmp_path / "set.xml", forcefield, systems)
    text = (tmp_path / "set.xml").read_text()
    assert text.count("<Residue ") == 2 and text.count("<Type ") == 7
    write_forcefield(tmp_path / "set.itp", forcefield, systems)
    asked = [line[2:] for line in (tmp_path / "set.itp").read_text().splitlines()[1:4]]
    for name, system in zip(("M01", "M02", "M01"), systems, strict=True):
        assert_read_back(tmp_path / "set.xml", ".xml", system, forcefield)
        lines = [*asked, '#include "set.itp"', "[ system ]", "one", "[ molecules ]", f"{name} 1", ""]
        (tmp_path / "one.top").write_text("\n".join(lines))
        assert_read_back(tmp_path / "one.top", ".top", system, forcefield)


@pytest.mark.parametrize("suffix", [".xml", ".prmtop", ".top", ".prm", ".frcmod"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 12))])
def test_terms_that_differ_where_bonds_are_alike_are_kept_apart(seed, suffix, tmp_path):
    """Some of the terms of a symmetric molecule, with types that do not follow its symmetry, and atoms in any order."""
    rng = np.random.default_rng(seed)
    whole, forcefield = problem("ethane", "amber", periodicities=(1,))
    arrays, values = dict(whole.arrays), dict(forcefield.arrays)
    for kind in whole.kinds:
        atoms, types = whole.terms(kind)
        kept = np.flatnonzero(rng.random(len(atoms)) < (1.0 if kind == "bond" else 0.6))
        twice = forcefield.n_types(kind) * rng.integers(0, 2, len(kept))
        arrays |= {f"{kind}_atoms": atoms[kept], f"{kind}_types": types[kept] + twice}
        values |= {field: np.tile(values[field], 2) for field in term_kinds()[kind].all_fields}
        scaled = term_kinds()[kind].fields[0]
        values[scaled] = values[scaled] * rng.uniform(0.5, 1.5, len(values[scaled]))
    forcefield, order = ForceField("amber", arrays=values), rng.permutation(8)
    molecule, place = whole.molecule, np.argsort(order)
    arrays = {name: place[each] if name.endswith(("_atoms", "_pairs")) else each for name, each in arrays.items()}
    arrays |= {name: arrays[name][order] for name in ("vdw_types", "coulomb_types")}
    turned = Molecule([molecule.symbols[atom] for atom in order], molecule.coordinates[order], name="turned", waived=CHECKS)
    write_forcefield(tmp_path / f"a{suffix}", forcefield, System(turned, arrays=arrays))
    assert_read_back(tmp_path / f"a{suffix}", suffix, System(turned, arrays=arrays), forcefield)


def test_openmm_refuses_another_order_of_atoms_that_bonds_do_not_tell_apart(tmp_path):
    system, forcefield = problem("formaldehyde", "amber")
    write_forcefield(tmp_path / "a.xml", forcefield, system)
    order = [1, 0, 2, 3]
    place = np.argsort(order)
    molecule = Molecule([system.molecule.symbols[atom] for atom in order], system.molecule.coordinates[order], waived=CHECKS)
    turned = System(molecule, bond_atoms=place[system.bond_atoms], bond_types=system.bond_types)
    with pytest.raises(ValueError, match="its atoms must stand in the order of the template MOL, C1 O1 H1 H2"):
        read_xml(tmp_path / "a.xml", turned)
    symmetric, of_symmetric = problem("ethane", "amber")
    write_forcefield(tmp_path / "b.xml", of_symmetric, symmetric)
    assert "<Script>" not in (tmp_path / "b.xml").read_text()


@pytest.mark.parametrize("suffix", [".xml", ".prmtop", ".top", ".prm", ".frcmod"])
def test_pairs_as_rounded_files_have_them_are_those_of_the_force_field(suffix, tmp_path):
    """Factors that differ in their ninth digit, and 1-4 pairs given by values instead of by a factor."""
    exact, forcefield = problem("ethane", "amber")
    rng = np.random.default_rng(5)
    noisy = {name: getattr(exact, name) * (1.0 + 1e-9 * rng.normal(size=9)) for name in ("vdw_factors", "coulomb_factors")}
    kind = KINDS["vdw"]
    assert isinstance(kind, PairKind)
    radii, depths = pair_values(exact, forcefield, kind).T
    given = {"special_vdw_atoms": exact.vdw_pairs[4:], "special_vdw_types": np.arange(5)}
    kept = {"vdw_pairs": exact.vdw_pairs[:4], "vdw_factors": noisy["vdw_factors"][:4]}
    rounded = System(exact.molecule, arrays={**exact.arrays, **noisy, **kept, **given})
    special = {"special_vdw_radii": radii[4:] * (1.0 + 1e-9), "special_vdw_epsilons": 0.5 * depths[4:]}
    write_forcefield(tmp_path / f"a{suffix}", ForceField("amber", arrays={**forcefield.arrays, **special}), rounded)
    assert_read_back(tmp_path / f"a{suffix}", suffix, exact, forcefield)


def test_a_template_keeps_everything_but_our_parameters(tmp_path):
    system, forcefield = problem("methanol", "amber")
    write_forcefield(tmp_path / "user.prmtop", forcefield, system)
    text = (tmp_path / "user.prmtop").read_text().replace("MOL", "MOH") + "%FLAG MINE\n%FORMAT(20a4)\nkept\n"
    (tmp_path / "user.prmtop").write_text(text)
    scaled = [1.0 if label.startswith("vdw") else 1.01 for label in forcefield.labels]
    refitted = forcefield.with_parameters(forcefield.parameters * scaled)
    write_forcefield(tmp_path / "new.parm7", refitted, system, template=tmp_path / "user.prmtop")
    written = (tmp_path / "new.parm7").read_text()
    assert "MOH" in written and "kept" in written
    assert_read_back(tmp_path / "new.parm7", ".prmtop", system, refitted)
    assert evaluated(read_prmtop(tmp_path / "user.prmtop", system), system)[0] != pytest.approx(
        evaluated(read_prmtop(tmp_path / "new.parm7", system), system)[0]
    )


def test_a_template_of_something_else_is_refused(tmp_path):
    system, forcefield = problem("methanol", "amber")
    other, of_other = problem("ethane", "amber")
    user, target = tmp_path / "user.prmtop", tmp_path / "new.prmtop"
    write_forcefield(user, forcefield, system)
    text = user.read_text()
    with pytest.raises(FormatError, match="ethane has 8 atoms, and the topology .* 6"):
        write_forcefield(target, of_other, other, template=user)
    bare = replace(system, torsion_atoms=system.torsion_atoms[1:], torsion_types=system.torsion_types[1:])
    with pytest.raises(FormatError, match=r"has a torsion of the atoms \[.*and the system has none"):
        write_forcefield(target, forcefield, bare, template=user)
    wider = replace(forcefield, vdw_radii=forcefield.vdw_radii * 1.1)
    with pytest.raises(FormatError, match="van der Waals parameters .* a template keeps its own"):
        write_forcefield(target, wider, system, template=user)
    phase, form = "%FLAG DIHEDRAL_PHASE\n", "%FORMAT(3E24.16)\n"
    damaged = {
        "no AMBER topology: it has no section BOND_FORCE_CONSTANT": text.replace("BOND_FORCE", "BOND FORCE"),
        "the section DIHEDRAL_PHASE is damaged": text.replace(f"{phase}{form}", f"{phase}{form} ****\n"),
        "atom 0 is C, and in the topology .* the element 7": text.replace("       6       8", "       7       8"),
    }
    for message, content in damaged.items():
        user.write_text(content)
        with pytest.raises(FormatError, match=message):
            write_forcefield(target, forcefield, system, template=user)
    assert not target.exists()


def test_a_file_keeps_the_names_and_bonds_of_the_molecule(tmp_path):
    """Atoms in their order, masses, and nothing that OpenMM takes for a water that it knows."""
    system, forcefield = problem("water", "harmonic")
    for suffix, read in ((".xml", read_xml), (".prmtop", read_prmtop), (".top", read_top)):
        write_forcefield(tmp_path / f"water{suffix}", forcefield, system)
        model = read(tmp_path / f"water{suffix}", system)
        masses = [model.getParticleMass(atom)._value for atom in range(model.getNumParticles())]
        np.testing.assert_allclose(masses, system.molecule.masses, rtol=tolerances.CLOSED_FORM)
        assert model.getNumConstraints() == 0


def test_systems_of_openmm_go_out_as_they_came_with_other_parameters(tmp_path):
    """AMBER's in every format that has its forces; CHARMM's, with CMAP and custom forces, as the System that it was."""
    for given, suffixes in (
        (amber(), (".system.xml", ".xml", ".prmtop", ".top", ".prm", ".frcmod")),
        (charmm(), (".system.xml",)),
    ):
        model = from_openmm(given, ALANINE)
        system, scaled = model.systems[0], [1.02 if name.startswith("bond") else 1.0 for name in model.forcefield.labels]
        forcefield = model.forcefield.with_parameters(model.forcefield.parameters * scaled)
        context = context_of(to_openmm(system, forcefield), ALANINE.coordinates)
        for suffix in suffixes:
            write_forcefield(tmp_path / f"a{suffix}", forcefield, system)
            read = context_of(READERS[suffix](tmp_path / f"a{suffix}", system), ALANINE.coordinates)
            assert energy_of(read) == pytest.approx(energy_of(context), rel=tolerances.READ_BACK)
            forces = forces_of(context)
            assert np.abs(forces_of(read) - forces).max() <= tolerances.READ_BACK * np.abs(forces).max()

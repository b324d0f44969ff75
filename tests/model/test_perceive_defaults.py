"""What perception decides by itself: classes of angles, contacts, couplings, stiff bonds; and what users override."""

from collections import Counter

import numpy as np
import pytest
from tolerances import CLOSED_FORM

from q2mm_accel import FusedObjective, Reference
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FragmentWarning, ParameterError, TopologyError, UnmatchedTermWarning
from q2mm_accel.model import topology
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive

AXES = np.concatenate([np.eye(3), -np.eye(3)])
HEXAFLUORIDE = Molecule(["S"] + ["F"] * 6, np.concatenate([np.zeros((1, 3)), 1.56 * AXES]), name="SF6")
SQUARE = Molecule(["Pt"] + ["Cl"] * 4, np.concatenate([np.zeros((1, 3)), 2.33 * AXES[[0, 1, 3, 4]]]), charge=-2)
CARBON_DIOXIDE = Molecule("OCO", [[-1.17, 0.0, 0.0], [0.0, 0.0, 0.0], [1.17, 0.0, 0.0]])
CARBOXYLATE = Molecule(["V", "O", "O", "C"], [[0, 0, 0], [1.06, 1.757, 0], [-1.06, 1.757, 0], [0, 2.46, 0]], name="chelate")
DIHYDROGEN = Molecule(["Fe", "H", "H"], [[0, 0, 0], [0.41, 0, 1.70], [-0.41, 0, 1.70]], name="side-on")


def bent_siloxane() -> Molecule:
    """Al-O-Si, whose ends are 3.00 Å apart, just below 1.3 times the sum of their radii."""
    cosine = (1.85**2 + 1.68**2 - 3.0**2) / (2 * 1.85 * 1.68)
    silicon = 1.68 * np.array([cosine, np.sqrt(1.0 - cosine**2), 0.0])
    return Molecule(["O", "Al", "Si"], [[0, 0, 0], [1.85, 0, 0], silicon])


def names(forcefield, kind):
    """The names of the types of a kind, without that of the kind."""
    labels = [label.rsplit(" ", 1)[0] for label in forcefield.labels if label.split()[0] == kind]
    return [name.removeprefix(f"{kind} ") for name in dict.fromkeys(labels)]


@pytest.mark.parametrize(
    ("molecule", "expected"),
    [
        (HEXAFLUORIDE, {"~90": (12, 90.0), "linear": (3, 180.0)}),
        (SQUARE, {"~90": (4, 90.0), "linear": (2, 180.0)}),
        (CARBON_DIOXIDE, {"linear": (1, 180.0)}),
    ],
)
def test_angles_of_several_classes_have_a_type_for_each_and_straight_ones_are_pinned(molecule, expected):
    (system,), forcefield = perceive([molecule], by="element", torsions=False)
    groups = [name.split()[-1] for name in names(forcefield, "angle")]
    counts = Counter(groups[number] for number in system.angle_types)
    found = {group: (counts[group], forcefield.angle_values[number]) for number, group in enumerate(groups)}
    assert found.keys() == expected.keys()
    for group, (count, value) in expected.items():
        assert found[group][0] == count and found[group][1] == pytest.approx(value, rel=CLOSED_FORM)
    pinned = [forcefield.labels[number] for number in np.flatnonzero(forcefield.pinned)]
    assert all("linear theta0" in label for label in pinned) and len(pinned) == 1


def test_an_angle_near_180_degrees_is_pinned_at_exactly_180_and_no_fit_moves_it():
    bent = np.radians(2.0)
    molecule = Molecule("OCO", [[-1.17, 0, 0], [0, 0, 0], [1.17 * np.cos(bent), 1.17 * np.sin(bent), 0]])
    systems, forcefield = perceive([molecule])
    assert forcefield.angle_values.tolist() == [180.0]
    energy = [Reference("energy", 1.0)]
    assert FusedObjective(systems, forcefield, energy).labels == (*forcefield.labels[:2], forcefield.labels[2])
    assert FusedObjective(systems, forcefield, energy, active="angle *").labels == (forcefield.labels[2],)
    with pytest.raises(ParameterError, match="only parameters that the force field pins.*theta0' at 180.*with_bounds"):
        FusedObjective(systems, forcefield, energy, active="angle_values")
    freed = forcefield.with_bounds(angle_values=(100.0, 180.0))
    assert FusedObjective(systems, freed, energy, active="angle_values").labels == (forcefield.labels[3],)


def test_the_gap_between_angles_of_one_type_can_be_chosen():
    _, forcefield = perceive([SQUARE], angle_gap=None, torsions=False)
    assert len(names(forcefield, "angle")) == 1 and not forcefield.pinned.any()
    np.testing.assert_allclose(forcefield.angle_values, [120.0], rtol=CLOSED_FORM)
    around = np.radians([0.0, 95.0, 200.0, 0.0])
    star = np.stack([np.cos(around), np.sin(around), 0.0 * around], axis=1) * [[2.3], [2.3], [2.3], [0.0]]
    molecule = Molecule(["Cl", "Cl", "Cl", "Pt"], star)  # 95, 105 and 160 degrees
    for gap, expected in ((5.0, ["~95", "~160", "~105"]), (12.0, ["~100", "~160"]), (60.0, [""])):
        _, forcefield = perceive([molecule], by="element", angle_gap=gap, impropers=False)
        assert [name.removeprefix("Cl-Pt-Cl").strip() for name in names(forcefield, "angle")] == expected
    for gap in (0.0, -1.0, "wide"):
        with pytest.raises(ParameterError, match="angle_gap"):
            perceive([SQUARE], angle_gap=gap)


def test_bonds_of_like_atoms_with_unlike_lengths_are_of_different_types():
    polyene = flat_hydrocarbon(6, 1.34, 1.44)
    _, forcefield = perceive([polyene], by="element", torsions=False)
    found = dict(zip(names(forcefield, "bond"), forcefield.bond_lengths, strict=True))
    assert found == pytest.approx({"C-C ~1.34": 1.34, "C-C ~1.44": 1.44, "C-H": 1.09}, rel=CLOSED_FORM)
    _, forcefield = perceive([polyene], by="element", torsions=False, bond_gap=0.2)
    assert names(forcefield, "bond") == ["C-C", "C-H"]
    _, forcefield = perceive([polyene], by="element", torsions=False, bond_gap=None)
    assert names(forcefield, "bond") == ["C-C", "C-H"]


def test_groups_whose_means_look_alike_have_names_of_more_digits():
    molecules = [Molecule("NO", [[0.0, 0.0, 0.0], [0.0, 0.0, length]]) for length in (1.151, 1.154)]
    _, forcefield = perceive(molecules, by="element", bond_gap=0.001)
    assert names(forcefield, "bond") == ["N-O ~1.151", "N-O ~1.154"]


def test_terms_over_straight_and_right_angles_do_not_share_types():
    options = {"urey_bradley": True, "stretch_stretch": True, "stretch_bend": True, "bend_bend": True}
    (system,), forcefield = perceive([SQUARE], by="element", torsions=False, **options)
    assert names(forcefield, "urey_bradley") == ["Cl-Pt-Cl ~90"]  # none over straight angles
    assert names(forcefield, "stretch_stretch") == ["Cl-Pt-Cl ~90", "Cl-Pt-Cl linear"]
    assert names(forcefield, "bond_bend") == ["Cl-Pt-Cl ~90"] and len(system.bond_bend_atoms) == 8
    assert names(forcefield, "bend_bend") == ["Cl-Pt-Cl-Cl ~90,~90"] and len(system.bend_bend_atoms) == 4


def test_the_couplings_of_methyl_fluoride_are_those_of_a_textbook():
    (system,), forcefield = perceive(
        [load_molecule("ch3f")], by="element", stretch_stretch=True, stretch_bend=True, bend_bend=True
    )
    counts = {kind: len(system.terms(kind)[0]) for kind in ("stretch_stretch", "bond_bend", "bend_bend")}
    assert counts == {"stretch_stretch": 6, "bond_bend": 12, "bend_bend": 12}
    assert names(forcefield, "stretch_stretch") == ["F-C-H", "H-C-H"]
    assert sorted(names(forcefield, "bond_bend")) == ["F-C-H", "H-C-F", "H-C-H"]
    assert sorted(names(forcefield, "bend_bend")) == ["F-C-H-H", "H-C-F-H", "H-C-H-H"]
    objective = FusedObjective([system], forcefield, [Reference("energy", 1.0)])  # every coupling finds what it reads
    assert np.isfinite(objective.fun(objective.x0)) and not forcefield.bend_bend_force_constants.any()


@pytest.mark.parametrize(
    ("name", "everywhere", "elsewhere"), [("water", 1, 0), ("ethane", 12, 12), ("formaldehyde", 3, 3), ("methanol", 7, 6)]
)
def test_urey_bradley_terms_stand_around_atoms_whose_angles_depend_on_each_other(name, everywhere, elsewhere):
    (system,), _ = perceive([load_molecule(name)], urey_bradley=True)
    assert len(system.urey_bradley_atoms) == elsewhere
    (system,), _ = perceive([load_molecule(name)], urey_bradley="all")
    assert len(system.urey_bradley_atoms) == everywhere


def flat_hydrocarbon(n_carbons: int, double: float, single: float) -> Molecule:
    """An all-trans polyene H(CH)_nH in one plane, whose bonds are double and single in turn, beginning with double."""
    atoms, position = [], np.zeros(2)
    for number in range(n_carbons):
        atoms.append(position.copy())
        length = double if number % 2 == 0 else single
        position = position + length * np.array([np.cos(np.pi / 6), (-1) ** number * np.sin(np.pi / 6)])
    hydrogens = [
        atom + 1.09 * np.array([0.0, (-1) ** (number + 1)]) for number, atom in enumerate(atoms)
    ]  # opposite to both neighbours' mean
    start = atoms[0] - 1.09 * np.array([np.cos(np.pi / 6), -np.sin(np.pi / 6)])
    end = atoms[-1] + 1.09 * np.array([np.cos(np.pi / 6), (-1) ** (n_carbons - 1) * np.sin(np.pi / 6)])
    points = np.array([*atoms, *hydrogens, start, end])
    return Molecule(["C"] * n_carbons + ["H"] * (n_carbons + 2), np.column_stack([points, np.zeros(len(points))]))


def benzene() -> Molecule:
    around = 2.0 * np.pi * np.arange(6) / 6
    circle = np.stack([np.cos(around), np.sin(around), 0.0 * around], axis=1)
    return Molecule(["C"] * 6 + ["H"] * 6, np.concatenate([1.39 * circle, 2.48 * circle]))


def test_double_and_aromatic_bonds_are_stiff_and_single_bonds_between_flat_atoms_are_not():
    butadiene = flat_hydrocarbon(4, 1.34, 1.46)
    assert topology.stiff_bonds(butadiene, topology.bonds(butadiene)) == {(0, 1), (2, 3)}
    assert topology.stiff_bonds(benzene(), topology.bonds(benzene())) == {(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)}
    for name in ("ethane", "methanol", "h2o2"):
        molecule = load_molecule(name)
        assert not topology.stiff_bonds(molecule, topology.bonds(molecule))
    twisted = benzene().coordinates.copy()
    twisted[:, 2] = 0.5 * (-1.0) ** np.arange(12)  # a chair
    chair = Molecule(["C"] * 6 + ["H"] * 6, twisted)
    assert not topology.stiff_bonds(chair, topology.bonds(chair))


def test_stiff_torsions_are_harmonic_with_a_pinned_equilibrium_and_soft_ones_stay_cosines():
    (system,), forcefield = perceive([flat_hydrocarbon(4, 1.34, 1.46)], by="element", stiff_torsions=True)
    assert len(system.harmonic_dihedral_atoms) == 8 and len(system.torsion_atoms) == 4 * 3
    assert sorted(names(forcefield, "harmonic_dihedral")) == ["C-C-C-H ~0", "C-C-C-H ~180", "H-C-C-H ~0", "H-C-C-H ~180"]
    assert sorted(set(forcefield.harmonic_dihedral_values)) == [0.0, 180.0]
    assert np.sum(forcefield.pinned) == 4
    (system,), _ = perceive([flat_hydrocarbon(4, 1.34, 1.46)], torsions=False, stiff_torsions=True)
    assert len(system.harmonic_dihedral_atoms) == 8 and len(system.torsion_atoms) == 0


def test_a_torsion_through_a_wide_angle_is_left_out_before_its_curvature_runs_away():
    bent = np.radians(180.0 - 161.0)
    chain = [[-0.5, 0.9, 0.0], [0.0, 0.0, 0.0], [1.46, 0.0, 0.0], [1.46 + 1.16 * np.cos(bent), 0.0, 1.16 * np.sin(bent)]]
    molecule = Molecule("HCCN", chain, name="bent")
    with pytest.warns(UnmatchedTermWarning, match="bent: 1 torsion.*160 degrees.*0-1-2-3"):
        (system,), _ = perceive([molecule])
    assert len(system.torsion_atoms) == 0 and len(system.angle_atoms) == 2


def test_contacts_over_a_bridging_atom_are_no_bonds():
    assert topology.bonds(CARBOXYLATE).tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert topology.bonds(bent_siloxane()).tolist() == [[0, 1], [0, 2]]


RINGS = {
    "a dioxirane": ("COO", 1.39, 1.52),
    "an epoxide": ("OCC", 1.43, 1.47),
    "a side-on peroxide": (["Ti", "O", "O"], 1.85, 1.45),
    "an alkene on a metal": (["Pt", "C", "C"], 2.13, 1.38),
    "diborane's bridge": ("HBB", 1.31, 1.77),
}


@pytest.mark.parametrize("ring", RINGS)
def test_three_membered_rings_keep_all_bonds_as_in(ring):
    symbols, side, base = RINGS[ring]
    height = np.sqrt(side**2 - base**2 / 4.0)
    molecule = Molecule(symbols, [[0, 0, 0], [base / 2.0, height, 0], [-base / 2.0, height, 0]])
    assert topology.bonds(molecule).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_bounds_widen_to_what_a_molecule_shows():
    systems, forcefield = perceive([DIHYDROGEN], urey_bradley="all", margins=None)
    assert forcefield.angle_values[0] == pytest.approx(27.1, abs=0.1)
    lower, upper = forcefield.limits["angle_values"][0]
    assert lower == pytest.approx(27.1 - 15.0, abs=0.1) and upper == 180.0
    assert forcefield.limits["urey_bradley_lengths"][0].tolist() == pytest.approx([0.72, 4.0])
    FusedObjective(systems, forcefield, [Reference("energy", 1.0)])  # the start is inside
    long = Molecule(["Cs", "I"], [[0.0, 0.0, 0.0], [0.0, 0.0, 3.32]])
    assert perceive([long], margins=None)[1].bounds.ub[1] == pytest.approx(3.42)
    _, usual = perceive([load_molecule("water")], margins=None)
    assert usual.limits["bond_lengths"].tolist() == [[0.5, 3.0]] and usual.bounds.lb[0] == 0.0


def test_bounds_of_equilibria_reach_a_margin_beyond_what_terms_show():
    systems, forcefield = perceive([DIHYDROGEN], margins=(0.05, 10.0))
    lengths = topology.distances(DIHYDROGEN.coordinates, systems[0].bond_atoms)
    expected = [[lengths.min() - 0.05, lengths.max() + 0.05]]
    np.testing.assert_allclose(forcefield.limits["bond_lengths"], expected, rtol=CLOSED_FORM)
    width = np.diff(forcefield.limits["angle_values"])
    np.testing.assert_allclose(width, [[20.0]], rtol=CLOSED_FORM)


def test_bonds_can_be_given_or_excluded_molecule_by_molecule():
    water = load_molecule("water")
    with pytest.warns(FragmentWarning, match="O0, H2; H1"):
        (first, second, third), _ = perceive(
            [water, water, water], bonds=[[(2, 0), (0, 1)], None, None], exclude=[None, None, [(1, 0)]]
        )
    assert first.bond_atoms.tolist() == second.bond_atoms.tolist() == [[0, 1], [0, 2]]
    assert third.bond_atoms.tolist() == [[0, 2]]


def test_types_of_atoms_can_be_given():
    water = load_molecule("water")
    (first, second), forcefield = perceive([water, water], types=[["OW", "HW", "HW"], None], by="element")
    assert names(forcefield, "bond") == ["HW-OW", "H-O"] and names(forcefield, "angle") == ["HW-OW-HW", "H-O-H"]
    assert first.bond_types.tolist() == [0, 0] and second.bond_types.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bonds": [(0, 1), (0, 2)]}, "bonds is 2 entries for 1 molecules"),
        ({"bonds": 3}, "bonds is 3 for 1 molecules"),
        ({"bonds": [[(0, 7)]]}, r"water: bonds name the pair \[0, 7\]; its atoms are 0 to 2"),
        ({"bonds": [[(0, 1), (1, 0)]]}, "water: bonds name the pair 0, 1"),
        ({"bonds": [[(0, 0)]]}, "water: bonds name the pair 0, 0"),
        ({"bonds": [[(0, 1, 2)]]}, "water: bonds must be pairs"),
        ({"bonds": [[(0, 1)]], "exclude": [[(0, 2)]]}, "nothing to exclude"),
        ({"exclude": [[(0, 9)]]}, r"water: exclude name the pair \[0, 9\]"),
        ({"types": [5]}, "types are 5"),
        ({"types": [["OW", "HW"]]}, r"water: types are \['OW', 'HW'\]; give 3 names"),
        ({"types": ["OWW"]}, "water: types are 'OWW'"),
        ({"types": [[8, 1, 1]]}, "water: types are"),
    ],
)
def test_what_cannot_be_bonds_or_types_is_refused(options, message):
    with pytest.raises(TopologyError, match=message):
        perceive([load_molecule("water")], **options)


def test_fragments_and_atoms_without_any_term_are_named():
    benzene_argon = Molecule(
        ["Ar", *benzene().symbols], np.concatenate([[[0.0, 0.0, 3.6]], benzene().coordinates]), name="dimer"
    )
    with pytest.warns(FragmentWarning, match=r"dimer: no term acts between its 2 fragments: Ar0; C1, C2, C3, C4 \.\.\."):
        perceive([benzene_argon])
    perceive([benzene_argon], bonds=[[(0, 1), *(topology.bonds(benzene()) + 1)]])  # a warning would be an error
    neon = Molecule(["Ne"], [[0.0, 0.0, 0.0]])
    assert len(perceive([neon])[0]) == 1

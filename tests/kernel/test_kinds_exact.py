"""Every kind of term beyond the first five against 150-digit arithmetic, one term in each molecule.

Covered: dihedrals with an equilibrium on the other side of 180 degrees; couplings that read the equilibria of bonds and
angles; charges of either sign; pairs with factors and given values; the forms' rules for radii; damped torsions and
MM3's stretch-bend where they fade out, where they are gone, and where they are whole; factors in one of two buckets.
Derivatives by parameters, and charges of 0, are in test_kinds_together.py.
"""

from collections import defaultdict
from functools import cache

import jax
import numpy as np
import pytest
import tolerances
from helpers import evaluate_all, problem_of
from kinds_cases import damped_form, forgotten_after
from oracles import exact
from oracles.draws import chain

from q2mm_accel import ForceField, Molecule, System
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.model.kinds import KINDS, constant_fields
from q2mm_accel.model.plausibility import CHECKS

# angles without energy, to be read by couplings, may be straight
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.LinearAngleWarning")


@pytest.fixture(scope="module", autouse=True)
def registry():
    """The damped form is forgotten afterwards."""
    with forgotten_after():
        yield


COUNT = 12
"""Draws of each kind."""


class Draws:
    """Systems with a term each, and the force field of all of them: every term has types of its own."""

    def __init__(self, seed):
        """Begin with none."""
        self.rng, self.systems, self.fields = np.random.default_rng(seed), defaultdict(list), defaultdict(list)

    def off(self, smallest, largest):
        """A deviation of either sign, not too small: a term near its minimum has no relative precision to measure."""
        return self.rng.uniform(smallest, largest) * self.rng.choice([-1.0, 1.0])

    def type_of(self, kind, *values, **constants):
        """A new type; its number."""
        for field, value in zip(KINDS[kind].fields, values, strict=True):
            self.fields[field].append(value)
        for field, value in constants.items():
            self.fields[field].append(value)
        return len(self.fields[KINDS[kind].fields[0]]) - 1

    def add(self, name, points, **terms):
        """A system of that name with these terms."""
        molecule = Molecule("H" * len(points), points, waived=CHECKS)
        self.systems[name].append(System(molecule, **terms))

    def forcefield(self, form):
        """The force field of all types."""
        return ForceField(form=form, **self.fields)

    def equilibria(self, points, bonds=(), angles=()):
        """Terms without energy whose equilibria are off the points' distances and angles, to be read by others."""
        terms = {"bond_atoms": bonds, "bond_types": [], "angle_atoms": angles, "angle_types": []}
        for i, j in bonds:
            length = np.linalg.norm(points[i] - points[j]) + self.off(0.05, 0.3)
            terms["bond_types"].append(self.type_of("bond", 0.0, length))
        for i, j, k in angles:
            a, b = points[i] - points[j], points[k] - points[j]
            angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)) + self.off(2.0, 25.0)
            terms["angle_types"].append(self.type_of("angle", 0.0, angle))
        return {name: values for name, values in terms.items() if len(values)}


def draw_dihedrals(draws, kind):
    """With equilibria whose difference to the dihedral exceeds 180 degrees in most cases, or even 360."""
    for turns in (-360.0, 0.0, 360.0) * (COUNT // 3):
        dihedral = draws.rng.uniform(-180.0, 180.0)
        inner = list(np.radians(draws.rng.uniform(60.0, 150.0, 2)))
        points = chain(draws.rng, draws.rng.uniform(0.9, 2.0, 3), inner, np.radians(dihedral))
        row = draws.type_of(kind, draws.rng.uniform(1.0, 50.0), dihedral + turns + draws.off(5.0, 170.0))
        draws.add(kind, points, **{f"{kind}_atoms": [(0, 1, 2, 3)], f"{kind}_types": [row]})


def draw_cosines(draws, kind, name, widest):
    """Torsions and cosine impropers whose first inner angle is one of `widest` [degrees]."""
    for number, wide in enumerate(widest):
        dihedral, periodicity = draws.rng.uniform(-180.0, 180.0), 1 + number % 4
        inner = np.radians([wide, draws.rng.uniform(60.0, 150.0)])[:: (-1) ** number]
        points = chain(draws.rng, draws.rng.uniform(0.9, 2.0, 3), list(inner), np.radians(dihedral))
        phase = np.remainder(periodicity * dihedral - draws.off(5.0, 170.0), 360.0)
        constants = {f"{kind}_periodicities": periodicity, f"{kind}_phases": phase}
        row = draws.type_of(kind, draws.off(1.0, 10.0), **constants)
        draws.add(name, points, **{f"{kind}_atoms": [(0, 1, 2, 3)], f"{kind}_types": [row]})


def draw_of_angles(draws, kind, name, angles):
    """Couplings of two bonds, or of one or both with their angle, which is one of `angles` [degrees]."""
    for angle in angles:
        points = chain(draws.rng, draws.rng.uniform(0.9, 2.0, 2), [np.radians(angle)])
        read = draws.equilibria(points, [(0, 1), (2, 1)], [(2, 1, 0)])
        row = draws.type_of(kind, draws.off(5.0, 100.0))
        draws.add(name, points, **read, **{f"{kind}_atoms": [(0, 1, 2)], f"{kind}_types": [row]})


def draw_bend_bends(draws):
    """Three atoms around the second."""
    for _ in range(COUNT):
        angle, out = draws.rng.uniform(70.0, 150.0), draws.rng.normal(size=3)
        points = chain(draws.rng, draws.rng.uniform(0.9, 2.0, 2), [np.radians(angle)])
        points = np.concatenate([points, points[1:2] + 1.3 * out / np.linalg.norm(out)])
        read = draws.equilibria(points, [], [(0, 1, 2), (3, 1, 2)])
        draws.add(
            "bend_bend",
            points,
            **read,
            bend_bend_atoms=[(0, 1, 2, 3)],
            bend_bend_types=[draws.type_of("bend_bend", draws.off(1.0, 50.0))],
        )


def draw_pairs(draws, kind, ranges):
    """Two atoms of different types, every other pair with a factor."""
    for number in range(COUNT):
        types = [draws.type_of(kind, *(draws.rng.uniform(*limits) for limits in ranges)) for _ in range(2)]
        factors = {} if number % 2 else {f"{kind}_factors": [draws.rng.uniform(0.2, 0.9)]}
        points = chain(draws.rng, [draws.rng.uniform(1.5, 5.0)])
        draws.add(kind, points, **{f"{kind}_pairs": [(0, 1)], f"{kind}_types": types}, **factors)


def draw_given_pairs(draws):
    """Pairs with values of their own; every third is inside MM3's wall."""
    for number in range(COUNT):
        radius = draws.rng.uniform(5.0, 9.0) if number % 3 == 0 else draws.rng.uniform(1.0, 2.5)
        row = draws.type_of("special_vdw", radius, draws.rng.uniform(0.01, 1.0))
        points = chain(draws.rng, [draws.rng.uniform(1.5, 5.0) if radius < 5.0 else draws.rng.uniform(1.0, 1.6)])
        draws.add("special_vdw", points, special_vdw_atoms=[(0, 1)], special_vdw_types=[row])


FADING = (170.2, 171.0, 172.5, 174.0, 174.8)
"""Angles [degrees] at which what fades out is neither whole nor gone."""
BENT = (62.0, 99.0, 130.0, 155.0, 169.9)
GONE = (175.1, 178.0, 179.99, 180.0)


def draw_almost_straight(draws):
    """The same stretch-bend at 180 degrees and at two angles that are straight but for rounding."""
    bonds = [draws.type_of("bond", 0.0, length) for length in (1.0, 1.2)]
    angle, row = draws.type_of("angle", 0.0, 150.0), draws.type_of("stretch_bend", 40.0)
    for supplement in (0.0, 1e-9, 3e-5):
        last = 1.15 * np.array([np.cos(supplement), np.sin(supplement), 0.0])
        read = {"bond_atoms": [(0, 1), (1, 2)], "bond_types": bonds, "angle_atoms": [(0, 1, 2)], "angle_types": [angle]}
        points = np.array([[-1.07, 0.0, 0.0], [0.0, 0.0, 0.0], last])
        draws.add("almost straight stretch_bend", points, **read, stretch_bend_atoms=[(0, 1, 2)], stretch_bend_types=[row])


@cache
def evaluated(form):
    """Names of groups -> systems and what the package computes for them; the force field."""
    draws = Draws(seed=21)
    if form == "damped":
        damped_form()
        for kind in ("harmonic_dihedral", "harmonic_improper"):
            draw_dihedrals(draws, kind)
        draw_cosines(draws, "improper", "improper", BENT)
        for name, widest in (("torsion", BENT), ("fading torsion", FADING), ("torsion that is gone", GONE)):
            draw_cosines(draws, "torsion", name, widest)
        draw_of_angles(draws, "stretch_stretch", "stretch_stretch", draws.rng.uniform(35.0, 179.0, COUNT))
        draw_bend_bends(draws)
        draw_almost_straight(draws)
        draw_pairs(draws, "coulomb", [(-1.0, 1.0)])
    if form in ("damped", "mm3"):
        groups = [("stretch_bend", BENT), ("fading stretch_bend", FADING)]
        for name, angles in [*groups, ("stretch_bend that is gone", GONE)][: 3 if form == "mm3" else 2]:
            draw_of_angles(draws, "stretch_bend", name, angles)
        draw_of_angles(draws, "bond_bend", "bond_bend", BENT if form == "damped" else FADING)
        draw_given_pairs(draws)
    draw_pairs(draws, "vdw", [(1.0, 2.2), (0.01, 1.0)])
    forcefield = draws.forcefield(form)
    systems = [system for group in draws.systems.values() for system in group]
    found = iter(evaluate_all(systems, forcefield))
    groups = {name: [(system, next(found)) for system in group] for name, group in draws.systems.items()}
    return groups, forcefield


def assert_exact(pairs, forcefield, where):
    """Energies, forces and Hessians of systems with one term."""
    worst = np.zeros(3)
    for system, evaluation in pairs:
        gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
        hessian = exact.to_array(exact.hessian(system, forcefield))
        energy_error = abs(exact.mpf(float(evaluation.energy)) - exact.energy(system, forcefield))
        errors = (
            float(energy_error / exact.energy_scale(system, forcefield)),
            np.abs(evaluation.gradient - gradient).max() / np.abs(gradient).max(),
            np.abs(evaluation.hessian - hessian).max() / np.abs(hessian).max(),
        )
        worst = np.maximum(worst, errors)
    print(f"{where}: energy {worst[0]:.1e}, force {worst[1]:.1e}, Hessian {worst[2]:.1e}")
    assert np.all(worst <= [tolerances.ENERGY, tolerances.FORCE, tolerances.HESSIAN])


EXACT = {
    "damped": (
        "harmonic_dihedral",
        "harmonic_improper",
        "improper",
        "torsion",
        "fading torsion",
        "stretch_stretch",
        "stretch_bend",
        "fading stretch_bend",
        "bond_bend",
        "bend_bend",
        "coulomb",
        "vdw",
        "special_vdw",
    ),
    "mm3": ("stretch_bend", "fading stretch_bend", "bond_bend", "vdw", "special_vdw"),
    "amber": ("vdw",),
}


@pytest.mark.parametrize(("form", "group"), [(form, group) for form, groups in EXACT.items() for group in groups])
def test_single_terms_are_exact(form, group):
    groups, forcefield = evaluated(form)
    assert_exact(groups[group], forcefield, f"{group} {form}")


@pytest.mark.parametrize(("form", "kind"), [("damped", "torsion"), ("mm3", "stretch_bend")])
def test_nothing_is_left_where_an_angle_is_almost_or_exactly_straight(form, kind):
    gone = evaluated(form)[0][f"{kind} that is gone"]
    assert len(gone) == len(GONE)
    for _, evaluation in gone:
        assert evaluation.energy == 0.0 and not np.any(evaluation.gradient) and not np.any(evaluation.hessian)


def test_torsions_are_whole_up_to_170_degrees_and_fade_out_after_it():
    groups, forcefield = evaluated("damped")
    undamped = ForceField(form="harmonic", arrays=forcefield.arrays)
    groups_of_torsions = [*groups["torsion"], *groups["fading torsion"]]
    exactly = evaluate_all([system for system, _ in groups_of_torsions], undamped)
    for number, ((system, damped), plain) in enumerate(zip(groups_of_torsions, exactly, strict=True)):
        if number < len(BENT):
            np.testing.assert_allclose(damped.hessian, plain.hessian, atol=1e-15 * np.abs(plain.hessian).max(), rtol=0.0)
            # the barrier rounds, of which 1 + cos may leave little
            barrier = 2.0 * np.abs(forcefield.torsion_force_constants[system.torsion_types]).max()
            np.testing.assert_allclose(damped.energy, plain.energy, atol=1e-15 * barrier, rtol=0.0)
        else:
            assert 0.0 < damped.energy / plain.energy < 1.0


def test_the_product_of_charges_makes_the_sign_and_all_kinds_of_the_package_are_drawn():
    groups, forcefield = evaluated("damped")
    charges = forcefield.coulomb_charges
    signs = {np.sign(np.prod(charges[system.coulomb_types])) for system, _ in groups["coulomb"]}
    assert signs == {-1.0, 1.0}
    for system, evaluation in groups["coulomb"]:
        distance = np.linalg.norm(np.diff(system.molecule.coordinates, axis=0))
        expected = 332.06 * np.prod(charges[system.coulomb_types]) / distance * system.pairs("coulomb").factors[0]
        assert evaluation.energy == pytest.approx(expected, rel=tolerances.CLOSED_FORM)
    assert {kind for kind in KINDS if forcefield.n_types(kind)} == set(KINDS) - {"urey_bradley"}
    assert all(len(forcefield.arrays[field]) for field in constant_fields())


def test_factors_may_occur_in_one_bucket_and_not_in_another():
    points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 1.5, 4.0]])
    terms = {"coulomb_pairs": [(0, 1)], "coulomb_factors": [0.25]}, {"coulomb_pairs": [(0, 1), (1, 2), (0, 2)]}
    systems = [
        System(Molecule("H" * n, points[:n], waived=CHECKS), coulomb_types=[0] * n, **each)
        for n, each in zip((2, 3), terms, strict=True)
    ]
    problem = problem_of(systems, ForceField(form="amber", coulomb_charges=[-0.5]), plan=[[0], [1]])
    found = np.asarray(jax.jit(kernel.predictions)(problem, np.array([-0.5])))[:2]
    distances = [np.linalg.norm(points[i] - points[j]) for i, j in systems[1].coulomb_pairs]
    expected = [332.06 * 0.25 * 0.25 / 2.0, sum(332.06 * 0.25 / distance for distance in distances)]
    np.testing.assert_allclose(found, expected, rtol=tolerances.CLOSED_FORM)


def test_a_stretch_bend_through_an_almost_straight_angle_couples_nothing():
    """Its energy has a kink at 180 degrees, where the bend has no direction: rounding must not choose one."""
    (_, straight), *bent = evaluated("damped")[0]["almost straight stretch_bend"]
    assert len(bent) == 2
    for _, each in bent:  # by no more than the supplement, in kcal/mol and Å
        assert np.abs(each.hessian - straight.hessian).max() <= 1e-4 * 40.0
        assert np.abs(each.gradient - straight.gradient).max() <= 1e-4 * 40.0

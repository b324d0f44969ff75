"""What once went wrong with kinds of terms: padding, the order of registrations, links, kinks, digits, copies."""

import pickle
import subprocess
import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from bare import perceive_bare

from q2mm_accel import (
    Background,
    Coordinate,
    ForceField,
    FusedObjective,
    Kind,
    Molecule,
    Parameter,
    Reference,
    ReferenceData,
    System,
    register_kind,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import LinearAngleWarning, ParameterError, PrecisionError, TopologyError
from q2mm_accel.model import kinds
from q2mm_accel.model.forcefield import in_order

WATER = load_molecule("water")


@pytest.fixture
def registry():
    """Kinds that a test registers are forgotten after it."""
    before = dict(kinds.KINDS), dict(kinds.FORMS)
    yield
    for known, old in zip((kinds.KINDS, kinds.FORMS), before, strict=True):
        known.clear()
        known.update(old)


def depth_kind(name):
    """A Morse bond of one's own."""
    fields = ("depths", "widths", "lengths")
    parameters = tuple(Parameter(f"{name}_{field}", field[0], "", (0.1, 3000.0), 1.0, "positive") for field in fields)
    return Kind(name, 2, (Coordinate("distance", (0, 1), equilibrium=2),), parameters)


def morse(deviation, depth, width, length):
    return depth * (1.0 - jnp.exp(-width * deviation)) ** 2


def test_an_energy_that_overflows_at_strange_parameters_does_not_spoil_the_gradient_of_padded_terms(registry):
    # 17 terms are padded to 18; the padded one took the first parameter of all for each of its own
    register_kind(depth_kind("trap_morse"), morse)
    chain = Molecule("H" * 18, [[0.0, 0.0, 1.2 * atom] for atom in range(18)], name="chain", check=False)
    atoms = [(atom, atom + 1) for atom in range(17)]
    system = System(chain, trap_morse_atoms=atoms, trap_morse_types=[0] * 17)
    start = ForceField("harmonic", trap_morse_depths=[1000.0], trap_morse_widths=[2.0], trap_morse_lengths=[1.1])
    objective = FusedObjective([system], start, [Reference("energy", 0.0)])
    energy = 17 * 1000.0 * (1.0 - np.exp(-2.0 * 0.1)) ** 2
    assert objective.fun(objective.x0) == pytest.approx(energy**2, rel=tolerances.LOSS)
    assert np.all(np.isfinite(objective.jac(objective.x0)))


def test_parameters_stored_in_another_order_of_kinds_are_refused():
    fields = {"angle_force_constants": [1.0], "angle_values": [2.0], "bond_force_constants": [3.0], "bond_lengths": [4.0]}
    with pytest.raises(ParameterError, match="order of the kinds angle, bond, but here it is bond, angle"):
        in_order(ForceField, "harmonic", ("a", "b", "c", "d"), fields)


def coupled(**changes):
    """Water with a stretch-bend term, and its force field."""
    (system,), start = perceive_bare([WATER])
    angle = system.angle_atoms.tolist()
    coupling = {"stretch_bend_atoms": angle, "stretch_bend_types": [0], **changes}
    fields = dict(start.arrays) | {"stretch_bend_force_constants": [10.0]}
    return replace(system, **coupling), ForceField("harmonic", arrays=fields)


def test_terms_keep_their_links_where_those_that_they_read_are_left_out():
    system, _ = coupled()
    (read, *_) = kinds.KINDS["stretch_bend"].reads
    alone = system.without({"bond": np.array([True, True])})
    assert len(alone.bond_atoms) == 0 and alone.linked_types("stretch_bend", read).tolist() == [0]
    with pytest.raises(TopologyError, match="stretch_bend 0 reads the bond_lengths"):
        replace(alone, stretch_bend_links=()).linked_types("stretch_bend", read)
    with pytest.raises(TopologyError, match="stretch_bend_links has 2 rows for 1"):
        replace(alone, stretch_bend_links=[[0, 0, 0]] * 2)


def test_what_terms_read_counts_in_the_fingerprint():
    system, start = coupled()
    fields = {name: np.repeat(values, 2) if name.startswith("bond") else values for name, values in start.arrays.items()}
    start = ForceField("harmonic", arrays=fields)
    references = [Reference("energy", 0.0)]
    prints = {
        FusedObjective([replace(system, stretch_bend_links=links)], start, references, active="angle *").fingerprint
        for links in ([[0, 0, 0]], [[0, 1, 0]], [[1, 1, 0]])
    }
    assert len(prints) == 3


def test_a_coupling_across_a_straight_angle_is_warned_of_unless_the_form_fades_it():
    molecule = load_molecule("hcn")
    (system,), start = perceive_bare([molecule], torsions=False)
    terms = {"stretch_bend_atoms": system.angle_atoms, "stretch_bend_types": [0]}
    fields = dict(start.arrays) | {"stretch_bend_force_constants": [10.0], "angle_values": [180.0]}
    references = [Reference("energy", 0.0)]
    with pytest.warns(LinearAngleWarning, match="stretch_bend 0 has the linear angle"):
        FusedObjective([replace(system, **terms)], ForceField("harmonic", arrays=fields), references)
    FusedObjective([replace(system, **terms)], ForceField("mm3", arrays=fields), references)


def test_a_background_of_more_digits_than_float32_has_is_refused():
    (system,), start = perceive_bare([WATER])
    background = Background(-4.0e5, np.zeros((3, 3)), np.zeros((9, 9)))
    problem = [replace(system, background=background)], start, [Reference("energy", -4.0e5 + 1.0)]
    FusedObjective(*problem, precision="mixed")
    with pytest.raises(PrecisionError):
        FusedObjective(*problem, precision="float32")
    references = ReferenceData()
    references.add_relative_energies([0.0, 1.0], [0, 1])
    with pytest.raises(PrecisionError, match="water: its background's energy is -400000"):
        FusedObjective(problem[0] * 2, start, references, precision="float32")


def test_a_pair_with_values_of_its_own_must_not_be_combined_too():
    with pytest.raises(TopologyError, match=r"special_vdw 0 of the atoms \[1, 2\] stands in vdw_pairs too"):
        System(WATER, vdw_pairs=[(2, 1)], vdw_types=[0, 0, 0], special_vdw_atoms=[(1, 2)], special_vdw_types=[0])


class Named(FusedObjective):
    """With something of its own."""

    def __init__(self, name, *arguments):
        self.name = name
        super().__init__(*arguments)


def test_a_pickled_objective_keeps_what_a_subclass_added():
    (system,), start = perceive_bare([WATER])
    original = Named("mine", [system], start, [Reference("energy", 1.0)])
    before = len(pickle.dumps(original))
    original.residuals_jac(original.x0)
    written = pickle.dumps(original)
    assert len(written) == before, "what evaluations left behind is not written"
    copy = pickle.loads(written)
    assert copy.name == "mine" and np.isfinite(copy.fun(copy.x0))


def test_force_fields_and_systems_cannot_be_changed_and_list_their_fields():
    (system,), start = perceive_bare([WATER])
    for described, field in ((start, "coulomb_charges"), (system, "coulomb_pairs")):
        with pytest.raises(TypeError):
            described.arrays[field] = np.zeros(1)
        assert field in dir(described)
    assert replace(system, vdw_pairs=[(1, 2)], vdw_types=[0, 0, 0]).vdw_factors.tolist() == [1.0]


def test_a_pickle_in_a_process_without_the_kind_is_refused_by_name(registry, tmp_path):
    register_kind(depth_kind("trap_morse"), morse)
    start = ForceField("harmonic", trap_morse_depths=[1.0], trap_morse_widths=[2.0], trap_morse_lengths=[1.1])
    path = tmp_path / "forcefield.pickle"
    path.write_bytes(pickle.dumps(start))
    script = f"import pickle, pathlib; pickle.loads(pathlib.Path({str(path)!r}).read_bytes())"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "ParameterError" in finished.stderr and "register_kind" in finished.stderr

"""What cannot be carried over from q2mm is refused by name; terms that only its later versions have are carried over.

The later versions are not on the package index, so their objects are imitated here by attributes.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from q2mm.backends.mm.jax_engine import JaxEngine as Q2MMEngine
from q2mm.models.forcefield import ForceField as Q2MMForceField
from q2mm.models.forcefield import VdwParam
from q2mm.models.molecule import Q2MMMolecule
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceValue
from q2mm.optimizers.objective import ReferenceData as Q2MMReferenceData

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import InteropError, MoleculeError, UnmatchedTermWarning
from q2mm_accel.interop.q2mm import problem_from_q2mm

# the names that q2mm's engine modules have; here they make the imitated engine below one of commit 0c795729
_BOND_K_CONV = 1.0
_ANGLE_K_CONV = 1.0


def ch3f_of_q2mm(*references):
    """An objective of q2mm for CH3F with one energy and the given references."""
    ours = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="ch3f")
    values = [ReferenceValue("energy", 1.0), *references]
    return ObjectiveFunction(
        Q2MMForceField.create_for_molecule(molecule), Q2MMEngine(), [molecule], Q2MMReferenceData(values)
    )


class TinkerEngine:
    """Another engine."""


class JaxEngine:
    """An engine whose contexts are given: pairs of names and values."""

    def __init__(self, **context):
        self.context = {
            "functional_form": "mm3",
            "bond_indices": np.array([(0, 1), (1, 2), (2, 3)]),
            "bond_param_map": np.array([0, 1, 0]),
            "angle_indices": np.array([(0, 1, 2), (1, 2, 3)]),
            "angle_param_map": np.array([0, 0]),
            "torsion_indices": np.array([(0, 1, 2, 3), (0, 1, 2, 3)]),
            "torsion_param_map": np.array([0, 1]),
            "ub_indices": np.array([(0, 2), (1, 3)]),
            "ub_param_map": np.array([0, 0]),
            "vdw_pair_indices": np.array([(0, 3)]),
            "atom_vdw_map": np.array([0, 1, 1, 0]),
            "n_vdw_types": 2,
        } | context

    def create_context(self, molecule, forcefield):
        return SimpleNamespace(**self.context)


class LaterForceField(SimpleNamespace):
    """A force field of 0c795729, as far as it matters here."""

    def get_param_vector(self):
        return np.array([300.0, 1.0, 250.0, 1.4, 60.0, 105.0, 0.2, 0.7, 1.5, 0.02, 1.8, 0.06, 12.0, 1.9])

    def get_bounds(self):
        return [(-1000.0, 1000.0)] * 14


def later_objective(**context):
    """Hydrogen peroxide with every kind of term and a reference to a Hessian element, in 0c795729's terms."""
    ours = load_molecule("h2o2")
    order = [next(i for i, s in enumerate(ours.symbols) if s == "H")]
    oxygens = [i for i, s in enumerate(ours.symbols) if s == "O"]
    order += sorted(oxygens, key=lambda i: np.linalg.norm(ours.coordinates[i] - ours.coordinates[order[0]]))
    order += [next(i for i, s in enumerate(ours.symbols) if s == "H" and i != order[0])]
    terms = SimpleNamespace
    molecule = terms(
        symbols=["H", "O", "O", "H"],
        geometry=ours.coordinates[order],
        hessian=None,
        name="",
        charge=0,
        multiplicity=1,
        bonds=[terms(atom_i=i, atom_j=i + 1) for i in range(3)],
        angles=[terms(atom_i=i, atom_j=i + 1, atom_k=i + 2) for i in range(2)],
        torsions=[terms(atom_i=0, atom_j=1, atom_k=2, atom_l=3)],
    )
    angle = terms(elements=("H", "O", "O"), force_constant=60.0, equilibrium=105.0, label="")
    torsion = terms(elements=("H", "O", "O", "H"), label="", env_id="")
    forcefield = LaterForceField(
        bonds=[
            terms(elements=("O", "H"), force_constant=300.0, equilibrium=1.0, label=""),
            terms(elements=("O", "O"), force_constant=250.0, equilibrium=1.4, label=""),
        ],
        angles=[terms(**vars(angle), ub_force_constant=12.0, ub_equilibrium=1.9)],
        torsions=[
            terms(**vars(torsion), periodicity=1, force_constant=0.2, phase=0.0),
            terms(**vars(torsion), periodicity=2, force_constant=0.7, phase=150.0),
        ],
        vdws=[
            terms(atom_type="H1", radius=1.5, epsilon=0.02, label=""),
            terms(atom_type="O1", radius=1.8, epsilon=0.06, label=""),
        ],
    )
    element = terms(
        kind="hessian_element", value=0.1, weight=2.0, molecule_idx=-1, data_idx=0, atom_indices=(4, -1), label=""
    )
    return terms(forcefield=forcefield, engine=JaxEngine(**context), molecules=[molecule], reference=terms(values=[element]))


def test_every_kind_of_term_of_a_later_q2mm_is_carried_over():
    problem = problem_from_q2mm(later_objective())
    (system,) = problem.systems
    assert problem.forcefield.form == "mm3"
    assert [system.terms(kind)[1].tolist() for kind in ("bond", "angle", "torsion", "urey_bradley")] == [
        [0, 1, 0],
        [0, 0],
        [0, 1],
        [0, 0],
    ]
    assert system.vdw_types.tolist() == [0, 1, 1, 0] and system.vdw_pairs.tolist() == [[0, 3]]
    np.testing.assert_array_equal(problem.forcefield.parameters, problem.x0)
    np.testing.assert_array_equal(problem.parameter_scale, np.ones(14))
    assert problem.forcefield.torsion_periodicities.tolist() == [1, 2]


def test_phases_change_their_sign_because_the_dihedrals_of_q2mm_do():
    assert problem_from_q2mm(later_objective()).forcefield.torsion_phases.tolist() == [0.0, -150.0]


def test_indices_from_the_end_are_read_as_q2mm_reads_them():
    (element,) = problem_from_q2mm(later_objective()).references
    assert (element.kind, element.system, element.index, element.weight) == ("hessian_element", 0, (4, 11), 2.0)


def test_labels_name_elements_periodicities_and_atom_types():
    assert problem_from_q2mm(later_objective()).forcefield.labels == (
        *("bond H-O k", "bond H-O r0", "bond O-O k", "bond O-O r0", "angle H-O-O k", "angle H-O-O theta0"),
        *("torsion H-O-O-H n=1 k", "torsion H-O-O-H n=2 k", "vdw H1 radius", "vdw H1 epsilon"),
        *("vdw O1 radius", "vdw O1 epsilon", "urey_bradley H-O-O k", "urey_bradley H-O-O r0"),
    )


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"stretch_bend_indices": np.zeros((3, 3))}, "evaluates 3 terms of the kind 'stretch_bend'"),
        ({"ub_indices": np.array([(0, 2), (2, 0)])}, "urey_bradley 1 repeats urey_bradley 0"),
    ],
)
def test_terms_that_would_be_counted_otherwise_are_refused(context, message):
    with pytest.raises(InteropError, match=f"molecule 0 \\(unnamed\\).*{message}"):
        problem_from_q2mm(later_objective(**context))


def test_parameters_of_an_unknown_kind_are_refused():
    objective = later_objective()
    objective.forcefield.vdws.append(objective.forcefield.vdws[0])
    with pytest.raises(InteropError, match="parameter vector has 14 entries .* make 16"):
        problem_from_q2mm(objective)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (ReferenceValue("bond_length", 1.4, data_idx=4), r"data_idx is 4, but there are only 4 \(0 to 3\)"),
        (ReferenceValue("bond_angle", 109.0, atom_indices=(0, 1)), r"atom_indices is \(0, 1\); give 3 atoms"),
        (ReferenceValue("bond_angle", 109.0, atom_indices=(0, 1, 5)), "atom_indices is 5, but there are only 5"),
        (ReferenceValue("torsion_angle", 60.0, label="t"), r"reference 1 \(t\) has no atom_indices; give its 4 atoms"),
        (ReferenceValue("charge", 1.0), "has the kind 'charge', which is unknown"),
        (ReferenceValue("frequency", 1.0, data_idx=15), r"data_idx is 15, but there are only 15 \(0 to 14\)"),
        (ReferenceValue("frequency", 1.0, molecule_idx=1), "molecule_idx is 1, but there are only 1"),
        (ReferenceValue("eig_diagonal", 1.0, data_idx=-16), "data_idx is -16"),
        (ReferenceValue("eig_offdiagonal", 1.0), r"atom_indices is None; give \(row, column\)"),
        (ReferenceValue("eig_offdiagonal", 1.0, atom_indices=(3, 15)), "atom_indices is 15"),
        (ReferenceValue("energy", np.nan), "reference 1 .* must be finite"),
        (ReferenceValue("energy", 1.0, weight=-1.0), "reference 1 .* weights are not negative"),
    ],
)
def test_a_reference_that_cannot_be_carried_over_is_refused_by_name(reference, message):
    with pytest.raises(InteropError, match=message):
        problem_from_q2mm(ch3f_of_q2mm(reference))


def with_attribute(**attributes):
    objective = ch3f_of_q2mm()
    vars(objective).update(attributes)
    return objective


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimpleNamespace(forcefield=1, molecules=[]), "has no engine and no reference; pass a q2mm"),
        (lambda: with_attribute(molecules=[]), "has no molecules"),
        (lambda: with_attribute(engine=TinkerEngine()), r"engine TinkerEngine, .* EngineObjective\(objective_function\)"),
        (lambda: with_attribute(l2_weight=0.1), "has l2_weight = 0.1, a term of the loss that is unknown"),
        (
            lambda: with_attribute(forcefield=replace(ch3f_of_q2mm().forcefield, vdws=[VdwParam("C", 1.9, 0.05)])),
            r"molecule 0 \(ch3f\): q2mm cannot match it to the force field: Unmatched vdW",
        ),
    ],
)
def test_an_objective_that_cannot_be_carried_over_is_refused_by_name(make, message):
    with pytest.raises(InteropError, match=message):
        problem_from_q2mm(make())


def test_an_engine_whose_units_are_unknown_is_refused(monkeypatch):
    monkeypatch.delattr("q2mm.backends.mm.jax_engine._BOND_K_CONV")
    with pytest.raises(InteropError, match="has no _BOND_K_CONV, so the units of this version of q2mm are unknown"):
        problem_from_q2mm(ch3f_of_q2mm())


def test_a_penalty_of_zero_changes_nothing():
    assert len(problem_from_q2mm(with_attribute(regularization=0.0, prior=None)).references) == 1


def test_an_unknown_element_is_refused_by_name():
    objective = ch3f_of_q2mm()
    objective.molecules[0].symbols[0] = "Du"
    with pytest.raises(MoleculeError, match=r"molecule 0 \(ch3f\): atom 0 has the unknown element 'Du'"):
        problem_from_q2mm(objective)


def test_terms_that_q2mm_leaves_out_are_counted_in_one_warning():
    objective = ch3f_of_q2mm()
    del objective.forcefield.bonds[0], objective.forcefield.angles[0]
    with pytest.warns(UnmatchedTermWarning) as caught:
        problem = problem_from_q2mm(objective)
    assert len(caught) == 1
    assert "leaves out 1 bond, 3 angles; the first is the bond C0-F" in str(caught[0].message)
    assert len(problem.systems[0].bond_atoms) == 3 and problem.forcefield.n_types("bond") == 1

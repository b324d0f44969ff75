"""Normal modes free of rigid motions."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import MoleculeError
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.vibrations import rigid_motions
from q2mm_accel.units import FREQUENCY_FACTOR

BOND = 0.5  # hartree/bohr²


def chain(*places: float) -> Molecule:
    """Atoms in line, neighbours held by springs."""
    count = len(places)
    hessian = np.zeros((count, 3, count, 3))
    for atom in range(count - 1):
        for first, second, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1), (1, 0, -1)):
            hessian[atom + first, 2, atom + second, 2] += sign * BOND
    coordinates = [[0.0, 0.0, place] for place in places]
    return Molecule(["H"] * count, coordinates, hessian.reshape(3 * count, -1))


def test_closed_form_of_two_atoms():
    modes = chain(0.0, 0.74).normal_modes
    expected = FREQUENCY_FACTOR * np.sqrt(2.0 * BOND / chain(0.0).masses[0])
    np.testing.assert_allclose(modes.frequencies, [expected], rtol=1e-12)


@pytest.mark.parametrize(("places", "count"), [((0.0,), 0), ((0.0, 0.74), 1), ((0.0, 0.74, 1.48), 4)])
def test_linear_molecules_have_one_vibration_more(places, count):
    modes = chain(*places).normal_modes
    assert modes.vectors.shape == (3 * len(places), count)


@pytest.mark.parametrize("name", ["water", "ethane", "ch3f"])
def test_modes_are_orthonormal_and_move_nothing_rigidly(name):
    molecule = load_molecule(name)
    modes = molecule.normal_modes
    rigid = rigid_motions(molecule.coordinates, molecule.masses)
    both = np.concatenate([rigid, modes.vectors], axis=1)
    np.testing.assert_allclose(both.T @ both, np.eye(3 * molecule.n_atoms), atol=1e-12)
    # what is left of the whole spectrum without its six smallest entries
    spectrum = molecule.frequencies()
    vibrations = np.sort(spectrum[np.argsort(np.abs(spectrum))[6:]])
    np.testing.assert_allclose(modes.frequencies, vibrations, atol=0.05)


def test_turning_the_molecule_changes_no_frequency():
    molecule = load_molecule("water")
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    whole = np.kron(np.eye(molecule.n_atoms), turn)
    turned = Molecule(molecule.symbols, molecule.coordinates @ turn.T + 3.0, whole @ molecule.hessian @ whole.T)
    np.testing.assert_allclose(turned.normal_modes.frequencies, molecule.normal_modes.frequencies, rtol=1e-10)


def test_a_molecule_without_hessian_is_refused():
    with pytest.raises(MoleculeError, match=r"water.*no Hessian"):
        _ = Molecule(["O", "H"], [[0, 0, 0], [0, 0, 0.97]], name="water").normal_modes

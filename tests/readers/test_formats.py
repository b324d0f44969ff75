"""What is read is what was written: by the programs themselves, and by small writers of each layout."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from qm_files import (
    AVERAGE,
    CH3F,
    GEOMETRIES,
    WATER,
    WITH_HESSIAN,
    WRITERS,
    example,
    fchk,
    gaussian_log,
    place,
    same,
    with_entry,
    xtb_hessian,
    xyz,
)
from tolerances import READ_COORDINATES, READ_ENERGY, READ_FREQUENCY, READ_HESSIAN

from q2mm_accel import Molecule, read_molecules
from q2mm_accel.datasets import SMALL, load_molecule
from q2mm_accel.errors import MissingPackageError, QMFileError
from q2mm_accel.model.vibrations import normal_modes_of
from q2mm_accel.readers import read_file

DATA = Path(__file__).parent.parent / "data" / "qm"
UNSAID = {"water.hess": ("gradient",), "water.out": ("gradient",), "water.in": ("gradient", "energy")}
"""What a format does not hold."""


def assert_as_written(found, written, name):
    assert found.symbols == written.symbols
    np.testing.assert_allclose(found.coordinates, written.coordinates, rtol=0, atol=READ_COORDINATES)
    np.testing.assert_allclose(found.hessian, written.hessian, rtol=0, atol=READ_HESSIAN)
    if "energy" not in UNSAID.get(name, ()):
        assert abs(found.energy - written.energy) <= READ_ENERGY
    assert (found.charge, found.multiplicity, found.name) == (0, 1, "water")
    if "gradient" not in UNSAID.get(name, ()):
        np.testing.assert_allclose(found.gradient, written.gradient, rtol=0, atol=READ_HESSIAN)


@pytest.mark.parametrize("molecule", [WATER, CH3F], ids=["water", "CH3F"])
@pytest.mark.parametrize("name", WITH_HESSIAN)
def test_files_with_a_hessian_are_read_as_written(name, molecule, tmp_path):
    assert_as_written(Molecule.read(place(tmp_path, name, WITH_HESSIAN[name](molecule))), molecule, name)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometries_find_the_hessian_of_xtb_beside_them(name, tmp_path):
    path = place(tmp_path, name, GEOMETRIES[name](WATER))
    found = Molecule.read(path)
    np.testing.assert_allclose(found.coordinates, WATER.coordinates, rtol=0, atol=READ_COORDINATES)
    np.testing.assert_allclose(found.hessian, WATER.hessian, rtol=0, atol=READ_HESSIAN)
    assert Molecule.read(path, hessian=False).hessian is None


@pytest.mark.parametrize("name", WRITERS)
def test_line_ends_latin_letters_and_marks_of_editors_change_nothing(name, tmp_path):
    text = WRITERS[name](WATER)
    expected = Molecule.read(place(tmp_path, name, text), hessian=None if name in WITH_HESSIAN else False)
    latin = text.replace("title of a job", "titre d'un été", 1)
    others = [text.replace("\n", "\r\n").encode(), latin.encode("latin-1"), b"\xef\xbb\xbf" + text.encode()]
    for other in others:
        found = Molecule.read(place(tmp_path, name, other), hessian=None if name in WITH_HESSIAN else False)
        assert same(found, expected)


@pytest.mark.parametrize("name", [name for name in WITH_HESSIAN if name != "water.json"])
def test_formats_are_known_by_their_content(name, tmp_path):
    path = place(tmp_path, "result.txt", WITH_HESSIAN[name](WATER))
    assert Molecule.read(path).n_atoms == 3


def test_masses_are_those_with_which_the_program_worked(tmp_path):
    found = Molecule.read(place(tmp_path, "water.hess", WITH_HESSIAN["water.hess"](WATER)))
    assert found.masses.tolist() == [AVERAGE[symbol] for symbol in WATER.symbols]


def test_numbers_of_fortran_are_understood(tmp_path):
    text = fchk(WATER)
    first = f"{WATER.hessian[0, 0]:16.8E}"
    expected = Molecule.read(place(tmp_path, "water.fchk", text))
    other = text.replace(first, first.replace("E", "D"), 1)
    assert other != text and same(Molecule.read(place(tmp_path, "water.fchk", other)), expected)
    log = gaussian_log(WATER)
    expected = Molecule.read(place(tmp_path, "water.log", log))
    bare = log.replace("\\\\0.", "\\\\.", 1)
    bare = bare if bare != log else log.replace(",0.", ",.", 1)
    assert bare != log and same(Molecule.read(place(tmp_path, "water.log", bare)), expected)


def test_an_exponent_without_its_letter_is_a_tiny_number(tmp_path):
    tiny = min(WATER.hessian[np.tril_indices(9)], key=abs)
    text = fchk(WATER).replace(f"{tiny:16.8E}", f"{'0.14-270':>16}", 1)
    found = Molecule.read(place(tmp_path, "water.fchk", text))
    assert text != fchk(WATER)
    np.testing.assert_allclose(found.hessian, WATER.hessian, rtol=0, atol=READ_HESSIAN)


def test_the_frequency_job_of_an_output_with_several_jobs_is_taken(tmp_path):
    other = gaussian_log(WATER, job="FOpt").replace("NImag=0\\\\", "\\\\", 1)
    start, stop = other.index(" 1\\1\\"), other.index("\n\n\n Normal")
    entry = "".join(line[1:] for line in other[start:stop].splitlines())
    opened = entry[: entry.index("PG=C01")] + "PG=C01 [X(X1)]\\\\@"
    optimization = " Entering Gaussian System, Link 0=g16\n" + "".join(
        f" {opened[place : place + 70]}\n" for place in range(0, len(opened), 70)
    )
    text = optimization + "\n Normal termination of Gaussian 16\n" + gaussian_log(WATER)
    found = Molecule.read(place(tmp_path, "water.log", text))
    assert same(found, Molecule.read(place(tmp_path, "water.log", gaussian_log(WATER))))
    alone = Molecule.read(place(tmp_path, "optimized.log", optimization))
    assert alone.hessian is None and alone.energy == pytest.approx(WATER.energy, abs=READ_ENERGY)


def test_outputs_of_windows_have_other_separators(tmp_path):
    expected = Molecule.read(place(tmp_path, "water.log", gaussian_log(WATER)))
    assert same(Molecule.read(place(tmp_path, "water.log", gaussian_log(WATER, separator="|"))), expected)


def test_atoms_with_a_freeze_code_are_atoms(tmp_path):
    found = Molecule.read(place(tmp_path, "water.log", with_entry(gaussian_log(WATER), ("\\H,", "\\H,0,"))))
    assert same(found, Molecule.read(place(tmp_path, "water.log", gaussian_log(WATER))))


def test_the_energy_of_an_output_is_that_of_its_method(tmp_path):
    def energy(method, items):
        text = with_entry(gaussian_log(WATER), ("RB3LYP", method), (f"HF={WATER.energy:.7f}", items))
        return Molecule.read(place(tmp_path, "water.log", text)).energy

    assert energy("RHF", "HF=-76.1") == -76.1
    assert energy("RMP2-FC", "HF=-76.1\\MP2=-76.3") == -76.3
    assert energy("UCCSD(T)-Full", "HF=-76.1\\MP2=-76.3\\CCSD(T)=-76.4") == -76.4
    assert energy("RB2PLYP", "HF=-76.1\\MP2=-76.3") is None  # which of the two holds it is not said


def test_a_punch_file_of_an_optimization_holds_the_last_atoms_before_its_hessian(tmp_path):
    text = WITH_HESSIAN["water.dat"](WATER)
    atoms = [line for line in text.splitlines(keepends=True) if line[:2] in ("O ", "H ")][:3]
    shown = "".join(f" {line}" for line in atoms)
    moved = "".join(f" {line[:15]}{1.5 * atom:18.10f}{0:18.10f}{0:18.10f}\n" for atom, line in enumerate(atoms))
    block = " COORDINATES OF SYMMETRY UNIQUE ATOMS (ANGS)\n   ATOM   CHARGE\n " + "-" * 60 + "\n"
    other = text.replace(" $GRAD ", f"{block}{moved} $VEC\n $END\n{block}{shown} $GRAD ", 1)
    assert same(Molecule.read(place(tmp_path, "water.dat", other)), Molecule.read(place(tmp_path, "water.dat", text)))
    displaced = text.replace(f"E={WATER.energy:20.10f}", f"E={WATER.energy + 1e-3:20.10f}", 1)
    assert Molecule.read(place(tmp_path, "water.dat", displaced)).gradient is None


def test_results_of_the_second_version_of_qcschema(tmp_path):
    content = json.loads(WITH_HESSIAN["water.json"](WATER))
    inside = {"molecule": content.pop("molecule"), "specification": {"driver": content.pop("driver")}}
    found = Molecule.read(place(tmp_path, "water.json", json.dumps(content | {"input_data": inside}) + "\n"))
    assert same(found, Molecule.read(place(tmp_path, "water.json", WITH_HESSIAN["water.json"](WATER))))


def test_charges_and_multiplicities_in_files_of_orca(tmp_path):
    text = WITH_HESSIAN["water.hess"](WATER).replace("$end", "$charge\n -1\n\n$multiplicity\n 2\n\n$end", 1)
    found = Molecule.read(place(tmp_path, "water.hess", text))
    assert (found.charge, found.multiplicity) == (-1, 2)


def test_a_punch_file_of_symmetry_unique_atoms_goes_with_all_atoms(tmp_path):
    text = WITH_HESSIAN["water.dat"](WATER)
    second = [line for line in text.splitlines() if line.startswith("H ")][1]
    unique = text.replace(f"{second}\n   N31     6\n\n", "", 1)
    path = place(tmp_path, "water.dat", unique)
    found = Molecule.read(place(tmp_path, "all.xyz", xyz(WATER)), hessian=path)
    np.testing.assert_allclose(found.hessian, WATER.hessian, rtol=0, atol=READ_HESSIAN)


@pytest.mark.parametrize("name", SMALL)
def test_our_own_data_sets_are_read_with_their_frequencies(name):
    path = Path(sys.modules["q2mm_accel"].__file__).parent / "datasets" / "data" / f"{name}.npz"
    assert same(Molecule.read(path), load_molecule(name))
    assert read_file(path).frequencies is not None


def test_lower_triangles_in_our_files(tmp_path):
    tril = WATER.hessian[np.tril_indices(9)]
    np.savez(tmp_path / "w.npz", symbols=list(WATER.symbols), coordinates=WATER.coordinates, hessian_tril=tril, charge=1)
    found = Molecule.read(tmp_path / "w.npz")
    assert np.array_equal(found.hessian, WATER.hessian) and (found.charge, found.name) == (1, "w")


def test_what_the_caller_says_goes_before_the_file(tmp_path):
    path = place(tmp_path, "water.fchk", fchk(WATER))
    found = Molecule.read(path, name="mine", charge=-1, multiplicity=2)
    assert (found.name, found.charge, found.multiplicity) == ("mine", -1, 2)


def test_frequencies_that_a_program_printed_are_compared_unless_waived(tmp_path):
    text = fchk(WATER).replace("1.66287", "1.66377", 1)
    path = place(tmp_path, "water.fchk", text)
    with pytest.raises(QMFileError, match=r"differ by 0\.9 cm⁻¹ \(limit 0\.5\).*Printed: 1663\.8.*Computed: 1662\.9"):
        Molecule.read(path)
    assert Molecule.read(path, waived="frequencies").hessian is not None
    assert Molecule.read(place(tmp_path, "water.fchk", fchk(WATER).replace("1.66287", "1.66327", 1))).hessian is not None


def test_bends_of_linear_molecules_that_orca_lost_are_not_missed(tmp_path):
    molecule = example("hcn")
    text = WITH_HESSIAN["water.hess"](molecule)
    lines = text.splitlines(keepends=True)
    head = lines.index("$vibrational_frequencies\n") + 2
    printed = sorted(float(line.split()[1]) for line in lines[head : head + 9])
    one = next(value for value in printed if value > 0)
    lines[head + 5] = lines[head + 5].replace(f"{one:.6f}", f"{0:.6f}")
    assert "".join(lines) != text
    assert Molecule.read(place(tmp_path, "hcn.hess", "".join(lines))).n_atoms == 3


PROGRAMS = {
    "Psi4's JSON": (lambda: Molecule.read(DATA / "psi4_water.json"), [1826.5533, 4070.4612, 4188.7062], None),
    "xtb": (lambda: Molecule.read(DATA / "xtb" / "xtbopt.xyz"), [1538.83, 3646.64, 3655.06], "average"),
    "PySCF's Molden and array": (
        lambda: Molecule.read(DATA / "pyscf_water.molden", hessian=DATA / "pyscf_water.npy"),
        [1826.386, 4070.117, 4188.346],
        "average",
    ),
}
"""Program -> files that it wrote, frequencies that it printed [cm⁻¹], whether with the masses of natural mixtures."""


@pytest.mark.parametrize(("read", "printed", "masses"), PROGRAMS.values(), ids=PROGRAMS)
def test_files_that_programs_wrote_here(read, printed, masses):
    molecule = read()
    used = molecule.masses if masses is None else np.array([AVERAGE[symbol] for symbol in molecule.symbols])
    found = normal_modes_of(molecule.hessian, molecule.coordinates, used).frequencies
    np.testing.assert_allclose(found, printed, rtol=0, atol=READ_FREQUENCY)


def test_a_checkpoint_file_of_psi4_has_a_gradient_but_no_hessian():
    molecule = Molecule.read(DATA / "psi4_water.fchk")
    assert molecule.hessian is None and molecule.gradient.shape == (3, 3)
    assert np.max(np.abs(molecule.gradient.sum(axis=0))) < READ_HESSIAN


def test_the_hessian_beside_a_geometry_is_taken_where_it_is_clear(tmp_path):
    (tmp_path / "a.xyz").write_text(xyz(WATER))
    assert Molecule.read(tmp_path / "a.xyz").hessian is None
    (tmp_path / "hessian").write_text(xtb_hessian(WATER))
    assert Molecule.read(tmp_path / "a.xyz").hessian is not None
    shutil.copy(tmp_path / "a.xyz", tmp_path / "xtbopt.xyz")
    assert Molecule.read(tmp_path / "xtbopt.xyz").hessian is not None
    with pytest.raises(QMFileError, match=r"a\.xyz: 'hessian' lies beside it, and xtbopt\.xyz too"):
        Molecule.read(tmp_path / "a.xyz")
    assert Molecule.read(tmp_path / "a.xyz", hessian=False).hessian is None
    shutil.copy(tmp_path / "hessian", tmp_path / "a.hessian")
    assert Molecule.read(tmp_path / "a.xyz").hessian is not None


def test_a_second_file_may_hold_atoms_which_must_be_the_same(tmp_path):
    geometry, log = place(tmp_path, "g.xyz", xyz(WATER)), place(tmp_path, "water.log", gaussian_log(WATER))
    assert same(Molecule.read(geometry, hessian=log), Molecule.read(log))


def test_many_files_give_molecules_or_one_error_about_all_that_are_bad(tmp_path):
    paths = [place(tmp_path, f"{number:02d}.fchk", fchk(WATER)) for number in range(22)]
    assert [molecule.name for molecule in read_molecules(paths)] == [f"{number:02d}" for number in range(22)]
    empty, cut, missing = tmp_path / "empty.fchk", place(tmp_path, "cut.fchk", fchk(WATER)[:900]), tmp_path / "missing.fchk"
    empty.write_text("")
    with pytest.raises(QMFileError) as caught:
        read_molecules([*paths[:7], empty, *paths[7:15], cut, *paths[15:], missing])
    lines = str(caught.value).splitlines()
    assert lines[0] == "paths: 3 of 25 files cannot be used:" and len(lines) == 4
    assert [name in line for name, line in zip(("empty.fchk", "cut.fchk", "missing.fchk"), lines[1:], strict=True)]
    assert all(str(tmp_path) in line for line in lines[1:])
    for none in (str(paths[0]), paths[0], [], 7):
        with pytest.raises(QMFileError, match="give a list of paths"):
            read_molecules(none)


def test_a_reader_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cclib.parser", None)
    with pytest.raises(MissingPackageError, match=r"water\.out: cclib .* pip install 'q2mm_accel\[io\]'"):
        Molecule.read(place(tmp_path, "water.out", WITH_HESSIAN["water.out"](WATER)))

"""The Rh-enamide data: fetched safely, read as q2mm reads them.

The comparison with q2mm's losses is in test_q2mm.py.
"""

import io
import tarfile

import numpy as np
import pytest

from q2mm_accel import frequencies, runtime
from q2mm_accel.datasets import archive, rh_enamide
from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.errors import DatasetError, MissingPackageError, VersionError
from q2mm_accel.interop.pairing import match_as_q2mm

HESSIAN_FOLDER = "q2mm-5.0.0a2/examples/rh-enamide/rh_enamide_training_set/jaguar_spe_freq_in_out"
COMPLETE = (
    "q2mm-5.0.0a2/LICENSE",
    "q2mm-5.0.0a2/examples/rh-enamide/mm3.fld",
    "q2mm-5.0.0a2/examples/rh-enamide/rh_enamide_training_set/rh_enamide_training_set.mmo",
    f"{HESSIAN_FOLDER}/1.in",
)


@pytest.fixture(scope="module")
def data():
    return load_rh_enamide()


def tar_file(path, names):
    """An archive of files that hold their own names."""
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            content = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("Q2MM_ACCEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.network
def test_the_set_has_nine_structures_of_36_to_62_atoms_with_hessians(data):
    assert [system.molecule.n_atoms for system in data.systems] == [36, 38, 38, 62, 62, 58, 58, 58, 58]
    assert all(system.molecule.symbols[0] == "Rh" for system in data.systems)
    lowest = [system.molecule.frequencies()[0] for system in data.systems]
    assert max(lowest) < -300.0, "every structure is a transition state"


@pytest.mark.network
def test_the_molecules_have_readable_names(data):
    names = [system.molecule.name for system in data.systems]
    assert names[0] == "1 ZDMP" and names[4] == "5 (R,R)-Me-DuPHOS pro-S"
    assert names[5] == "6 (R,R)-Me-BPE pro-R conformation 1" and len(set(names)) == 9


@pytest.mark.network
def test_the_force_field_has_182_parameters_within_their_bounds(data):
    forcefield = data.forcefield
    assert forcefield.n_parameters == 182 and forcefield.form == "mm3" and len(set(forcefield.labels)) == 182
    assert [forcefield.n_types(kind) for kind in ("bond", "angle", "torsion", "vdw")] == [8, 23, 48, 36]
    assert np.all(forcefield.parameters >= forcefield.bounds.lb) and np.all(forcefield.parameters <= forcefield.bounds.ub)
    assert not np.any(forcefield.torsion_force_constants)
    assert forcefield.bond_lengths[0] == pytest.approx(1.5626, abs=1e-4), "the mean Rh-H distance of the nine"


@pytest.mark.network
def test_terms_that_are_left_out_or_borrow_parameters_are_counted(data):
    assert data.left_out == {"bond": 99, "angle": 567, "torsion": 1746}
    assert data.borrowed == {"bond": 329, "angle": 276}
    assert sum(len(system.bond_atoms) for system in data.systems) == 9 * 8 + 329
    assert sum(len(system.torsion_atoms) for system in data.systems) == 3 * 106


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")
def test_1021_frequencies_are_matched_in_the_form_mm3(data):
    count = 0
    for system, computed in zip(data.systems, frequencies(data.systems, data.forcefield), strict=True):
        values, modes = match_as_q2mm(system.molecule.frequencies(), computed)
        count += len(values)
        assert np.all(computed[modes] > 50.0) and np.all(values > 50.0)
    assert count == 1021


@pytest.mark.network
def test_the_harmonic_form_starts_from_the_same_parameters(data):
    harmonic = load_rh_enamide("harmonic").forcefield
    assert harmonic.form == "harmonic"
    np.testing.assert_array_equal(harmonic.parameters, data.forcefield.parameters)


@pytest.mark.network
def test_a_second_call_does_not_download_again(data, monkeypatch):
    monkeypatch.setattr(archive, "download", None)
    assert archive.fetch_archive().joinpath("LICENSE").exists()


@pytest.mark.network
def test_a_damaged_cache_is_reported(data, monkeypatch, tmp_path):
    (tmp_path / "examples").mkdir()
    monkeypatch.setattr(rh_enamide, "fetch_archive", lambda: tmp_path)
    with pytest.raises(DatasetError, match="mm3.fld is missing. Delete"):
        load_rh_enamide()


def test_an_archive_with_another_hash_is_refused(cache):
    cache.mkdir()
    tar_file(cache / archive.ARCHIVE, COMPLETE)
    with pytest.raises(DatasetError, match=f"has the SHA-256 [0-9a-f]{{64}}, not {archive.SHA256}. Delete the file"):
        archive.fetch_archive()
    assert [path.name for path in cache.iterdir()] == [archive.ARCHIVE], "nothing is left behind"


def test_a_failed_download_gives_the_last_line_of_pip_and_a_remedy(cache, monkeypatch):
    monkeypatch.setattr(archive, "REQUIREMENT", "q2mm==0.0.0.dev0")
    with pytest.raises(DatasetError, match="could not be downloaded.* copy the file to .*pip's last line: .*q2mm"):
        archive.fetch_archive()
    assert not list(cache.iterdir())


def test_a_cache_folder_that_cannot_be_made_is_reported(cache):
    cache.write_text("a file")
    with pytest.raises(DatasetError, match="cannot be made: .* Set Q2MM_ACCEL_CACHE"):
        archive.fetch_archive()


def test_only_the_wanted_files_are_unpacked(tmp_path):
    others = ["q2mm-5.0.0a2/setup.py", f"{HESSIAN_FOLDER}/1.out"]
    archive.unpack(tar_file(tmp_path / "a.tar.gz", [*COMPLETE, *others]), tmp_path / "folder")
    found = sorted(str(path.relative_to(tmp_path / "folder")) for path in (tmp_path / "folder").rglob("*.*"))
    assert found == sorted(name.partition("/")[2] for name in COMPLETE[1:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "folder"]


@pytest.mark.parametrize(
    "name",
    [f"{HESSIAN_FOLDER}/{'../' * 6}escaped.in", f"{HESSIAN_FOLDER}/{'../' * 20}escaped.in"],
)
def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="could not be unpacked.*escaped.in is not a plain file within"):
        archive.unpack(tar_file(tmp_path / "a.tar.gz", [*COMPLETE, name]), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    path = tar_file(tmp_path / "a.tar.gz", COMPLETE[:-1])
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{HESSIAN_FOLDER}/1.in")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(DatasetError, match="could not be unpacked.*1.in is not a plain file within"):
        archive.unpack(path, tmp_path / "folder")


@pytest.mark.parametrize("missing", COMPLETE)
def test_an_incomplete_archive_is_refused(tmp_path, missing):
    path = tar_file(tmp_path / "a.tar.gz", [name for name in COMPLETE if name != missing])
    with pytest.raises(DatasetError, match="has no (LICENSE|examples/rh-enamide/.*)"):
        archive.unpack(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("size", [0, 1, 20, 100, 200])
def test_a_truncated_archive_is_refused(tmp_path, size):
    path = tar_file(tmp_path / "a.tar.gz", COMPLETE)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match="a.tar.gz"):
        archive.unpack(path, tmp_path / "folder")


def test_a_folder_unpacked_by_another_process_is_kept(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "theirs").write_text("x")
    archive.unpack(tar_file(tmp_path / "a.tar.gz", COMPLETE), tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["theirs"]


def test_q2mm_must_be_installed_in_the_version_whose_units_are_known(monkeypatch):
    monkeypatch.setattr(rh_enamide, "version", lambda _: "5.0.0a1")
    with pytest.raises(VersionError, match="5.0.0a2, but 5.0.0a1 is installed: python -m pip install"):
        load_rh_enamide()

    def missing(_):
        raise rh_enamide.PackageNotFoundError

    monkeypatch.setattr(rh_enamide, "version", missing)
    with pytest.raises(MissingPackageError, match=r"python -m pip install 'q2mm_accel\[q2mm\]'"):
        load_rh_enamide()


@pytest.mark.parametrize(
    ("variables", "platform", "expected"),
    [
        ({"Q2MM_ACCEL_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "linux", "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "linux", "/b/q2mm_accel"),
        ({}, "linux", "/home/u/.cache/q2mm_accel"),
        ({}, "darwin", "/home/u/Library/Caches/q2mm_accel"),
        ({"LOCALAPPDATA": "/l"}, "win32", "/l/q2mm_accel"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_such_things(monkeypatch, variables, platform, expected):
    for name in ("Q2MM_ACCEL_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setattr(runtime.sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(runtime.cache_folder()) == expected

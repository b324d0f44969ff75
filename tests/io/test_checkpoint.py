"""Checkpoints: every bit comes back, and a file that is damaged or of another problem is refused by name."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from q2mm_accel.errors import CheckpointError
from q2mm_accel.io.checkpoint import VERSION, Checkpoint, fingerprint, load_checkpoint, save_checkpoint

SIGNALLING_NAN = np.array([0x7FF0000000000001, 0xFFF8000000000123], dtype=np.uint64).view(np.float64)

ARRAYS = {
    "special": np.array([np.nan, -np.nan, -0.0, 0.0, np.inf, -np.inf, 5e-324]),
    "nan_bits": SIGNALLING_NAN,
    "int64": np.array([[-(2**63), 2**63 - 1]]),
    "bool": np.array([True, False, True]),
    "uint32": np.array(2**32 - 1, dtype=np.uint32),
    "zero_d": np.array(-0.0),
    "empty": np.empty((3, 0, 2), dtype=np.int8),
    "complex64": np.array([1 + 2j], dtype=np.complex64),
    "big_endian": np.arange(4, dtype=">i2"),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20.0)[::3],
    "float16": np.array([1.5], dtype=np.float16),
    "x": np.array([7]),
    "version": np.array([8]),
    "a": np.array([1]),
    "a.npy": np.array([2]),
}


def example(**changes):
    """A checkpoint of a fit, with some fields changed."""
    fields = {
        "fingerprint": "f" * 64,
        "method": "L-BFGS-B",
        "x": np.array([0.1, -0.0, np.nan]),
        "fun": 2.5,
        "arrays": ARRAYS,
    }
    return Checkpoint(**fields | changes)


def bits(array):
    """All there is to an array."""
    return array.dtype.str, array.shape, array.tobytes()


def assert_same(read, original):
    """Check that two checkpoints are equal bit by bit."""
    assert (read.fingerprint, read.method, bits(read.x)) == (original.fingerprint, original.method, bits(original.x))
    assert bits(np.float64(read.fun)) == bits(np.float64(original.fun))
    assert {name: bits(array) for name, array in read.arrays.items()} == {
        name: bits(array) for name, array in original.arrays.items()
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.mark.parametrize("fun", [2.5, -0.0, 5e-324, np.inf, np.nan], ids=str)
def test_a_checkpoint_is_read_as_it_was_written(path, fun):
    original = example(fun=fun)
    save_checkpoint(path, original)
    assert_same(load_checkpoint(path), original)
    assert_same(load_checkpoint(str(path), "f" * 64), original)


def test_a_solver_without_state_and_a_method_with_any_name(path):
    original = example(arrays={}, method="größer, λ → 0", x=np.empty(0))
    save_checkpoint(path, original)
    assert_same(load_checkpoint(path), original)


def test_numpy_reads_the_file_too(path):
    save_checkpoint(path, example())
    with np.load(path, allow_pickle=False) as archive:
        assert bits(archive["x"]) == bits(example().x) and int(archive["version"]) == VERSION


def test_a_checkpoint_does_not_change_with_the_arrays_it_was_made_of():
    x, state = np.array([1.0, 2.0]), {"step": np.array([3.0])}
    checkpoint = example(x=x, arrays=state)
    x[0] = state["step"][0] = 9.0
    state["more"] = x
    assert checkpoint.x[0] == 1.0 and checkpoint.arrays["step"][0] == 3.0 and list(checkpoint.arrays) == ["step"]
    with pytest.raises(ValueError, match="read-only"):
        checkpoint.x[0] = 5.0


IMPOSSIBLE = {
    "objects": (dict(arrays={"state": np.array([None])}), "arrays['state'] has type object"),
    "text": (dict(arrays={"state": np.array(["a"])}), "arrays['state'] has type <U1"),
    "records": (dict(arrays={"state": np.zeros(2, dtype="i4,f8")}), "arrays['state'] has type"),
    "dates": (dict(arrays={"state": np.zeros(2, dtype="M8[s]")}), "arrays['state'] has type datetime64"),
    "a name that is a path": (dict(arrays={"../x": np.zeros(2)}), "'../x'"),
    "an empty name": (dict(arrays={"": np.zeros(2)}), "named ''"),
    "a number for a name": (dict(arrays={1: np.zeros(2)}), "named 1"),
    "a table of parameters": (dict(x=np.zeros((2, 2))), "x has type float64 and shape (2, 2)"),
    "complex parameters": (dict(x=np.zeros(2, dtype=complex)), "x has type complex128"),
    "an empty fingerprint": (dict(fingerprint=""), "fingerprint is ''"),
    "bytes for a method": (dict(method=b"lbfgsb"), "method is b'lbfgsb'"),
    "a zero byte": (dict(method="lbfgsb\0"), "method is 'lbfgsb"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE, ids=str)
def test_what_a_file_cannot_hold_is_refused_by_name(case):
    changes, words = IMPOSSIBLE[case]
    with pytest.raises(CheckpointError) as caught:
        example(**changes)
    assert words in str(caught.value)


def assert_unreadable(path, *words, **options):
    """Check that a file is refused with a message that names it, what is wrong and what to do."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, **options)
    missing = [word for word in (str(path), "start the fit without one", *words) if word not in str(caught.value)]
    assert not missing, f"the message lacks {missing}: {caught.value}"


def test_a_file_cut_short_anywhere_is_refused(path):
    save_checkpoint(path, example())
    content = path.read_bytes()
    tenths = [round(tenth * len(content) / 10) for tenth in range(10)]
    for length in (*tenths, 1, 63, 64, 65, len(content) - 65, len(content) - 64, len(content) - 1):
        path.write_bytes(content[:length])
        assert_unreadable(path, "cut short")


def test_a_flipped_bit_anywhere_is_found(path):
    save_checkpoint(path, example())
    content = path.read_bytes()
    rng = np.random.default_rng(2024)
    for position in rng.choice(len(content), 200, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        assert_unreadable(path, "damaged")


def test_bytes_after_the_end_are_found(path):
    save_checkpoint(path, example())
    path.write_bytes(path.read_bytes() + b"\n")
    assert_unreadable(path, "damaged")


@pytest.mark.parametrize("content", [b"", b"parameters", bytes(range(256)) * 9, b"PK\x05\x06" + bytes(18)], ids=len)
def test_a_file_that_is_no_checkpoint_is_refused(path, content):
    path.write_bytes(content)
    assert_unreadable(path, "no checkpoint at all")


def test_another_archive_of_numpy_is_refused(path):
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(3))
    assert_unreadable(path, "no checkpoint at all")


def test_a_missing_file_or_a_folder_is_refused(path, tmp_path):
    assert_unreadable(path, "cannot be read", "No such file")
    assert_unreadable(tmp_path, "cannot be read", "directory")
    path.write_bytes(b"")
    assert_unreadable(path / "below", "cannot be read", "Not a directory")


def test_another_problem_is_refused(path):
    save_checkpoint(path, example())
    assert_unreadable(path, "another problem", "systems, references or options", "eeee", fingerprint="e" * 64)


def sealed(content):
    """The bytes with the SHA-256 that makes them pass as undamaged."""
    return content + hashlib.sha256(content).hexdigest().encode()


def forged(**changes):
    """The bytes of an undamaged file with other entries; None removes one, and bytes are a member as it is."""
    entries = {"version": VERSION, "fingerprint": "f", "method": "m", "x": np.zeros(2), "fun": 1.0} | changes
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = bytes(64)
        for name, value in entries.items():
            if value is None:
                continue
            member = io.BytesIO()
            np.save(member, np.asarray(value))
            archive.writestr(f"{name.replace('__', '/')}.npy", value if isinstance(value, bytes) else member.getvalue())
    return sealed(buffer.getvalue()[:-64])


FORGED = {
    "another version": (forged(version=VERSION + 1), (f"version {VERSION + 1}", f"reads version {VERSION} only")),
    "another version with other entries": (forged(version=0, x=None, fun=None), ("version 0",)),
    "no version": (forged(version=None), ("'version' is missing",)),
    "no x": (forged(x=None), ("'x' is missing",)),
    "x of another type": (forged(x=np.zeros(2, np.float32)), ("'x' has type float32", "float64 with 1 axes")),
    "x of another shape": (forged(x=np.zeros((2, 1))), ("'x' has type float64 and shape (2, 1)",)),
    "fun of another shape": (forged(fun=np.zeros(1)), ("'fun' has type float64 and shape (1,)", "float64 with 0 axes")),
    "a number for a method": (forged(method=3), ("'method' has type int64", "str with 0 axes")),
    "an empty fingerprint": (forged(fingerprint=""), ("fingerprint is ''",)),
    "pickled objects": (forged(arrays__state=np.array([{}], dtype=object)), ("cannot be read", "allow_pickle=False")),
    "text in an array": (forged(arrays__state=np.array(["text"])), ("arrays['state'] has type <U4",)),
    "a member that is no array": (forged(x=b"0.1 0.2 0.3"), ("cannot be read", "magic")),
    "an array that ends early": (forged(x=b"\x93NUMPY\x01\x00"), ("cannot be read",)),
    "no archive": (sealed(b"x = 0.1"), ("cannot be read", "zip")),
    "nothing": (sealed(b""), ("cannot be read", "zip")),
}


def test_a_forged_file_without_a_fault_is_read(path):
    path.write_bytes(forged())
    assert_same(load_checkpoint(path), Checkpoint("f", "m", np.zeros(2), 1.0))


@pytest.mark.parametrize("fault", FORGED, ids=str)
def test_an_undamaged_file_with_wrong_content_is_refused(path, fault):
    content, words = FORGED[fault]
    path.write_bytes(content)
    assert_unreadable(path, *words)


BASE = ([np.array([1.0, 2.0]), np.array([3.0])], ["lbfgsb", "float64"])
OTHERS = {
    "another value": ([np.array([1.0, 2.5]), np.array([3.0])], BASE[1]),
    "another sign of zero": ([np.array([1.0, 2.0]), np.array([3.0]), np.array(-0.0)], BASE[1]),
    "zero": ([np.array([1.0, 2.0]), np.array([3.0]), np.array(0.0)], BASE[1]),
    "another order": (BASE[0][::-1], BASE[1]),
    "other arrays of the same bytes": ([np.array([1.0]), np.array([2.0, 3.0])], BASE[1]),
    "one array of the same bytes": ([np.array([1.0, 2.0, 3.0])], BASE[1]),
    "another shape": ([np.array([[1.0, 2.0]]), np.array([3.0])], BASE[1]),
    "another type of the same bytes": ([np.array([1.0, 2.0]).view(np.int64), np.array([3.0])], BASE[1]),
    "one array more": ([*BASE[0], np.empty(0)], BASE[1]),
    "two arrays more": ([*BASE[0], np.empty(0), np.empty(0)], BASE[1]),
    "other words of the same letters": (BASE[0], ["lbfgsbf", "loat64"]),
    "one word": (BASE[0], ["lbfgsbfloat64"]),
    "an empty word more": (BASE[0], [*BASE[1], ""]),
    "no words": (BASE[0], []),
    "nothing": ([], []),
}


def test_a_fingerprint_differs_with_everything_that_differs():
    prints = [fingerprint(*BASE), *(fingerprint(*other) for other in OTHERS.values())]
    assert len(set(prints)) == len(prints)
    assert all(len(digits) == 64 and set(digits) <= set("0123456789abcdef") for digits in prints)


def test_a_fingerprint_is_the_same_for_the_same_values_however_they_lie_in_memory():
    table = np.arange(6.0).reshape(2, 3)
    expected = fingerprint([table], ["word"])
    assert fingerprint(iter([np.asfortranarray(table)]), iter(["word"])) == expected
    assert fingerprint([np.repeat(table, 2, axis=0)[::2]], ("word",)) == expected


def test_a_fingerprint_of_known_bytes():
    pieces = [b"array", b"<f8", b"(1,)", b"\x00\x00\x00\x00\x00\x00\xf0\x3f", b"word", "µ".encode()]
    content = b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)
    assert fingerprint([np.array([1.0], dtype="<f8")], ["µ"]) == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_of_objects_is_refused():
    with pytest.raises(CheckpointError, match=r"arrays\[1\] has type object"):
        fingerprint([np.zeros(1), np.array([None])], [])

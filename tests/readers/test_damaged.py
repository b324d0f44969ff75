"""Files that were cut, spoilt or mixed up: each an error of the package's own that names the file, or the same molecule."""

import io
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from qm_files import (
    CH3F,
    GEOMETRIES,
    WATER,
    WITH_HESSIAN,
    WRITERS,
    coord,
    fchk,
    gamess_dat,
    gaussian_log,
    jaguar_in,
    molden,
    orca_hess,
    place,
    qchem_log,
    qcschema,
    same,
    with_entry,
    xtb_hessian,
    xyz,
)

from q2mm_accel import Molecule
from q2mm_accel.errors import HessianError, MoleculeError, Q2MMAccelError, QMFileError, UnitError
from q2mm_accel.readers import FORMATS

FIRST = float(WATER.hessian[0, 0])
WORDS = {
    "water.fchk": f"{FIRST:16.8E}",
    "water.log": f"{FIRST:.8f}",
    "water.hess": f"{FIRST:19.10E}",
    "water.out": f"{FIRST:12.7f}",
    "water.dat": f"{FIRST:15.8E}",
    "water.in": f"{FIRST:15.6E}",
    "water.json": f"  {FIRST!r}",
    "hessian": f"{FIRST:15.10f}",
}
"""How the first element of the Hessian stands in each file."""


def written(name):
    return xtb_hessian(WATER) if name == "hessian" else WRITERS[name](WATER)


def changed(text, *pairs):
    """A text in which the first of each pair is replaced once by the second."""
    for old, new in pairs:
        assert old in text, f"there is no {old!r} to spoil"
        text = text.replace(old, new, 1)
    return text


def refused(read, *words, error=QMFileError):
    """Check that reading raises exactly this error, and that its message holds all words."""
    with pytest.raises(Q2MMAccelError) as caught:
        read()
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"the message lacks {missing}: {caught.value}"


def read_named(folder, name, text):
    """Read a file of one of the formats; a spoilt `hessian` through a sound geometry."""
    if name == "hessian":
        return Molecule.read(place(folder, "water.xyz", xyz(WATER)), hessian=place(folder, "spoilt", text))
    return Molecule.read(place(folder, name, text))


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("name", [*WRITERS, "hessian"])
def test_cut_files_are_refused_or_the_same(name, tenth, tmp_path):
    assert_cut_is_refused(name, tenth * len(written(name)) // 10, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [*WRITERS, "hessian"])
def test_files_cut_anywhere_are_refused_or_the_same(name, tmp_path):
    for length in range(1, len(written(name)), 11):
        assert_cut_is_refused(name, length, tmp_path)


def assert_cut_is_refused(name, length, folder):
    whole = read_named(folder, name, written(name))
    try:
        found = read_named(folder, name, written(name)[:length])
    except Q2MMAccelError as error:
        assert str(folder) in str(error)
    else:
        # GAMESS's masses stand behind its Hessian, with five decimals; without them the same masses have more
        np.testing.assert_allclose(found.masses, whole.masses, rtol=0, atol=1e-5)
        assert same(replace(found, masses=whole.masses), whole)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.HessianWarning")
@pytest.mark.parametrize("name", [*WRITERS, "hessian"])
def test_files_with_changed_bytes_are_refused_or_read(name, tmp_path):
    generator = np.random.default_rng(3)
    for _ in range(100):
        data = bytearray(written(name).encode())
        data[generator.integers(len(data))] = generator.integers(256)
        try:
            read_named(tmp_path, name, bytes(data))
        except Q2MMAccelError as error:
            assert str(tmp_path) in str(error)


SPOILT_WORDS = {
    "stars": "*" * 8,
    "not a number": "NaN",
    "two run together": "219.87-1030.49",
    "a word": "abc",
    "missing": "",
    "cut in its exponent": "6.5E-",
}


@pytest.mark.parametrize("spoilt", SPOILT_WORDS)
@pytest.mark.parametrize("name", WORDS)
def test_a_number_that_is_none_is_refused(name, spoilt, tmp_path):
    word = WORDS[name]
    text = changed(written(name), (word, SPOILT_WORDS[spoilt].rjust(len(word))))
    refused(lambda: read_named(tmp_path, name, text), str(tmp_path))


HESSIANS = {
    "in kcal/mol/A2": (2240.87 * WATER.hessian, UnitError, "Likely unit: kcal/mol/Å²"),
    "in kJ/mol/nm2": (937580.4 * WATER.hessian, UnitError, "Likely unit: kJ/mol/nm²"),
    "mass-weighted": (WATER.hessian / np.sqrt(np.outer(*[np.repeat(WATER.masses, 3)] * 2)), HessianError, "mass-weighted"),
    "of atoms in another order": (np.roll(WATER.hessian, 3, (0, 1)), HessianError, "atom order"),
    "all zero": (0.0 * WATER.hessian, HessianError, "zero"),
    "three times as large": (3.0 * WATER.hessian, UnitError, "cm⁻¹"),
    "a little off": (1.01 * WATER.hessian, QMFileError, "Printed: 1662.9, 3736.4, 3860.4. Computed: 1671.2"),
}


@pytest.mark.parametrize("sentence", HESSIANS)
def test_hessians_that_cannot_be_right_are_refused(sentence, tmp_path):
    hessian, error, words = HESSIANS[sentence]
    text = fchk(WATER)
    lower = hessian[np.tril_indices(9)]
    for old, new in zip(WATER.hessian[np.tril_indices(9)], lower, strict=True):
        text = text.replace(f"{old:16.8E}", f"<{new:16.8E}>", 1)
    text = text.replace("<", "").replace(">", "")
    refused(lambda: Molecule.read(place(tmp_path, "water.fchk", text)), "water.fchk", words, error=error)


def from_fchk(*pairs):
    return "water.fchk", lambda: changed(fchk(WATER), *pairs)


def from_log(*pairs):
    return "water.log", lambda: changed(gaussian_log(WATER), *pairs)


def from_orca(*pairs):
    return "water.hess", lambda: changed(orca_hess(WATER), *pairs)


def from_qchem(*pairs):
    return "water.out", lambda: changed(qchem_log(WATER), *pairs)


def from_gamess(*pairs):
    return "water.dat", lambda: changed(gamess_dat(WATER), *pairs)


def from_jaguar(*pairs):
    return "water.in", lambda: changed(jaguar_in(WATER), *pairs)


def from_json(*pairs):
    return "water.json", lambda: changed(qcschema(WATER), *pairs)


def from_xyz(*pairs):
    return "water.xyz", lambda: changed(xyz(WATER), *pairs)


def header(name, count):
    return f"{name:<43}R   N={count:12d}"


NUCLEI = "  8.00000000E+00  1.00000000E+00  1.00000000E+00"
ATOM_NUMBERS = "           8           1           1"
SPOILT = {
    "fchk: a count that is too small": (
        from_fchk((header("Current cartesian coordinates", 9), header("Current cartesian coordinates", 6))),
        ("line 10", "'Current cartesian coordinates' has 6 values, but 9 words follow"),
    ),
    "fchk: a count that asks for all memory": (
        from_fchk((header("Cartesian Force Constants", 45), header("Cartesian Force Constants", 10**11))),
        ("line 20", "is no field's header"),
    ),
    "fchk: a count beyond the end": (
        from_fchk((header("Cartesian Force Constants", 45), header("Cartesian Force Constants", 999999999))),
        ("has 999999999 values, but the file ends before them",),
    ),
    "fchk: other numbers of atoms": (
        from_fchk((f"{'Number of atoms':<43}I{3:17d}", f"{'Number of atoms':<43}I{4:17d}")),
        ("there are 4 atoms, but 3 atomic numbers",),
    ),
    "fchk: fewer atoms than coordinates": (
        from_fchk(
            (f"{'Number of atoms':<43}I{3:17d}\n", ""),
            (
                f"{'Atomic numbers':<43}I   N={3:12d}\n{ATOM_NUMBERS}",
                f"{'Atomic numbers':<43}I   N={2:12d}\n{ATOM_NUMBERS[:24]}",
            ),
        ),
        ("has 3 values, but 2 atoms make them 2",),
    ),
    "fchk: a ghost atom": (from_fchk((NUCLEI, NUCLEI.replace("1.0", "0.0", 1))), ("atom 1", "is a ghost or dummy")),
    "fchk: a dummy atom": (from_fchk((ATOM_NUMBERS, ATOM_NUMBERS[:-1] + "0")), ("atom 2", "is a ghost or dummy")),
    "fchk: an element that there is not": (
        from_fchk((ATOM_NUMBERS, ATOM_NUMBERS[:-3] + "200")),
        ("atom 2 has the unknown element '200'",),
        MoleculeError,
    ),
    "fchk: an optimizer's estimate": (
        from_fchk(("Freq      RB3LYP", "FOpt      RB3LYP"), ("Vib-E2 ", "Vib-E3 ")),
        ("line 2", "the job is 'FOpt'", "an optimizer's estimate"),
    ),
    "fchk: no force constants": (from_fchk(("Cartesian Force Constants", "Cartesian Force Konstants")), ("is not there",)),
    "fchk: no coordinates": (
        from_fchk(("Current cartesian coordinates", "Current cartesian koordinates")),
        ("it has no 'Current cartesian coordinates'",),
    ),
    "fchk: two calculations": (
        ("water.fchk", lambda: fchk(WATER) + "".join(fchk(WATER).splitlines(keepends=True)[2:])),
        ("is there for the second time",),
    ),
    "fchk: garbage at the end": (("water.fchk", lambda: fchk(WATER) + "garbage\n"), ("'garbage' is no field's header",)),
    "fchk: a gradient of the wrong size": (
        from_fchk((header("Cartesian Gradient", 9), header("Cartesian Gradient", 10))),
        ("'Cartesian Gradient' has 10 values, but 9 words follow",),
    ),
    "fchk: more modes than values": (
        from_fchk((f"{'Number of Normal Modes':<43}I{3:17d}", f"{'Number of Normal Modes':<43}I{99:17d}")),
        ("it has 99 normal modes, but 'Vib-E2' has 42 values",),
    ),
    "fchk: a mode lost": (
        from_fchk((f"{'Number of Normal Modes':<43}I{3:17d}", f"{'Number of Normal Modes':<43}I{2:17d}")),
        ("it prints 2 frequencies, but its Hessian has 3 vibrations",),
    ),
    "fchk: a printed frequency changed": (
        from_fchk(("1.66287", "1.67287")),
        ("differ by 10 cm⁻¹ (limit 0.5)", "Printed: 1672.9", "Computed: 1662.9"),
    ),
    "fchk: a charge that is no number": (
        from_fchk((f"{'Charge':<43}I{0:17d}", f"{'Charge':<43}I{'x':>17}")),
        ("Charge is 'x'",),
    ),
    "fchk: an array that is none": (
        from_fchk((header("Vib-E2", 42), f"{'Vib-E2':<43}R{1.0:27.15E}\n{header('Vib-E9', 42)}")),
        ("'Vib-E2' should be an array",),
    ),
    "log: a further job that was cut": (
        ("water.log", lambda: gaussian_log(WATER).replace("NImag", "NImug") + " Entering Link 1 = x\n"),
        ("the job did not end",),
    ),
    "log: a value of the gradient lost": (
        ("water.log", lambda: with_entry(gaussian_log(WATER), (f",{WATER.gradient[2, 2]:.8f}\\\\", "\\\\"))),
        ("gradient has 8 values, but there are 3 atoms",),
    ),
    "log: two frequency jobs": (
        ("water.log", lambda: 2 * gaussian_log(WATER)),
        ("it holds 2 frequency jobs", "Keep one"),
    ),
    "log: no archive entry": (from_log((" 1\\1\\", " 1\\2\\")), ("it has no archive entry", ".fchk")),
    "log: an archive entry without an end": (from_log(("@", "")), ("does not end with @",)),
    "log: a Z-matrix": (
        ("water.log", lambda: with_entry(gaussian_log(WATER), ("O,-0.0000000000,-0.0000000000,", "O\\H,1,"))),
        ("of a Z-matrix", ".fchk"),
    ),
    "log: a ghost atom": (("water.log", lambda: with_entry(gaussian_log(WATER), ("\\O,", "\\O-Bq,"))), ("O-Bq", "ghost")),
    "log: a dummy atom": (("water.log", lambda: with_entry(gaussian_log(WATER), ("\\O,", "\\X,"))), ("X", "dummy")),
    "log: no Hessian after NImag": (
        ("water.log", lambda: with_entry(gaussian_log(WATER), ("NImag=0\\\\", "NImag=0\\\\\\\\"))),
        ("has no Hessian after NImag",),
    ),
    "log: a value of the Hessian lost": (
        ("water.log", lambda: with_entry(gaussian_log(WATER), (f"{FIRST:.8f},", ""))),
        ("Hessian has 44 values, but 3 atoms make them 45",),
    ),
    "log: no charge": (("water.log", lambda: with_entry(gaussian_log(WATER), ("\\\\0,1\\", "\\\\"))), ("no charge",)),
    "log: a mass lost": (
        ("water.log", lambda: "".join(line for line in gaussian_log(WATER).splitlines(True) if "Atom     2" not in line)),
        ("masses has the shape (2,)",),
    ),
    "log: of xtb's": (("g98.out", lambda: " Entering Gaussian System\n Frequencies -- 1.0\n"), ("no archive entry",)),
    "hess: no end": (from_orca(("$end\n", "")), ("does not end with $end",)),
    "hess: no atoms": (from_orca(("$atoms", "$atomz")), ("it has no $atoms",)),
    "hess: the Hessian twice": (from_orca(("$actual_temperature", "$hessian")), ("$hessian is there for the second time",)),
    "hess: of another size": (from_orca(("$hessian\n9", "$hessian\n12")), ("of size 12, but 3 atoms make it 9",)),
    "hess: rows in disorder": (from_orca(("\n    3 ", "\n    4 ")), ("row 3 of $hessian must be its number",)),
    "hess: columns in disorder": (from_orca((f"{4:19d}\n", f"{5:19d}\n")), ("stand where column 0 is next",)),
    "hess: an atom lost": (from_orca(("\n$atoms\n3", "\n$atoms\n2")), ("$atoms has 2 rows, but 3 lines follow",)),
    "hess: a dummy atom": (from_orca((" O  ", " DA ")), ("atom 0 has the unknown element 'DA'",), MoleculeError),
    "hess: a frequency lost": (from_orca(("frequencies\n9\n    0        0.000000\n", "frequencies\n8\n")), ("has 8 rows",)),
    "hess: a mass lost": (from_orca(("  15.99900", "")), ("it must be a symbol, a mass and three coordinates",)),
    "hess: a part lost": (
        ("water.hess", lambda: last_columns_lost(orca_hess(WATER))),
        ("45 values instead of 81", "was cut"),
    ),
    "hess: nothing in it": (from_orca(("$hessian\n9\n", "$hessian\n\n$other\n")), ("$hessian is empty",)),
    "hess: half an electron": (from_orca(("$end", "$charge\n0.5\n$end")), ("$charge is 0.5",)),
    "hess: of another program": (("water.hess", lambda: "    3    9\n  0.1 0.2 0.3\n"), ("its format is not known",)),
    "out: no thanks at the end": (
        from_qchem(("Thank you very much", "Fatal error")),
        ("does not end with Q-Chem's thanks",),
    ),
    "out: no Hessian": (from_qchem(("Hessian of the SCF Energy", "Nothing")), ("prints no Hessian", ".fchk")),
    "out: two jobs": (("water.out", lambda: 2 * qchem_log(WATER)), ("prints 2 Hessians", "Keep one")),
    "out: no frequencies": (from_qchem((" Frequency:", " Frequenzy:")), ("cclib",)),
    "out: no masses": (("water.out", lambda: qchem_log(WATER).replace("Has Mass", "Weighs")), ("shape (0,)",)),
    "out: a ghost atom": (from_qchem(("    2      H ", "    2      GH")), ("ghost or dummy",)),
    "dat: an optimizer's estimate": (from_gamess((" $HESS", "CAUTION, APPROXIMATE HESSIAN!\n $HESS")), ("estimate",)),
    "dat: two Hessians": (("water.dat", lambda: 2 * gamess_dat(WATER)), ("$HESS is there 2 times", "Keep one")),
    "dat: a group without an end": (from_gamess((" $END\n-----", "-----")), ("$HESS is not closed by $END",)),
    "dat: symmetry-unique atoms": (
        ("water.dat", lambda: without_second_hydrogen(gamess_dat(WATER, "CNV      2"))),
        ("$HESS is of 3 atoms, but there are 2", "C1"),
    ),
    "dat: a ghost atom": (from_gamess((f"{'O':<10}  8.0", f"{'O':<10}  0.0")), ("nuclear charge 0", "ghost")),
    "dat: a line of the Hessian lost": (("water.dat", lambda: without_line(gamess_dat(WATER), " 2  1")), ("rows",)),
    "dat: no energy": (from_gamess(("ENERGY IS", "ENERGY WAS")), ("must say ENERGY IS",)),
    "dat: nothing after the Hessian's head": (("water.dat", lambda: gamess_dat(WATER).split("ENERGY IS")[0]), ("cut",)),
    "dat: rows in disorder": (from_gamess(("\n 2  1", "\n 3  1")), ("row 2 of $HESS should begin here",)),
    "dat: an atom of the gradient lost": (
        ("water.dat", lambda: without_line(gamess_dat(WATER), f"{'H':<10}    1.")),
        ("$GRAD must have 3 atoms",),
    ),
    "dat: no masses": (from_gamess(("ATOMIC MASSES", "MASSES")), ("ATOMIC MASSES do not follow",)),
    "dat: no modes": (
        ("water.dat", lambda: "".join(line for line in gamess_dat(WATER).splitlines(True) if not line.startswith("MODE"))),
        ("no MODE follows the masses",),
    ),
    "dat: no atoms": (from_gamess((" $DATA ", " $DADA ")), ("no $DATA before $HESS",)),
    "dat: a mass lost": (
        ("water.dat", lambda: changed(gamess_dat(WATER), ("    15.99491", ""))),
        ("2 masses, but 3 atoms",),
    ),
    "in: an optimizer's estimate": (from_jaguar(("ifreq=1", "igeopt=1")), ("not ifreq=1", "estimate")),
    "in: no Hessian of a frequency job": (from_jaguar(("&hess", "&hezz")), ("ifreq=1", "no &hess")),
    "in: a Z-matrix": (("water.in", lambda: z_matrix(jaguar_in(WATER))), ("line 9", "Cartesian coordinates")),
    "in: a section that is not closed": (("water.in", lambda: jaguar_in(WATER).split("&\n&valid")[0]), ("is not closed",)),
    "in: no atoms": (from_jaguar(("&zmat", "&zmax")), ("it has no &zmat",)),
    "in: an atom lost": (("water.in", lambda: without_line(jaguar_in(WATER), " H3")), ("&hess",)),
    "in: a row lost": (("water.in", lambda: without_line(jaguar_in(WATER), "   9")), ("line",)),
    "in: a dummy atom": (from_jaguar((" H2", " X2")), ("unknown element 'X2'",), MoleculeError),
    "in: half an electron": (from_jaguar(("molchg=0", "molchg=0.5")), ("molchg is '0.5'", "no whole number")),
    "json: a list": (("water.json", lambda: "[1, 2]\n"), ("a JSON list",)),
    "json: no schema": (("water.json", lambda: '{"a": 1}\n'), ("no molecule with symbols and geometry",)),
    "json: nested without end": (("water.json", lambda: 100_000 * "["), ("JSON",)),
    "json: a field twice": (from_json(('"success": true', '"driver": "hessian"')), ("'driver' is there twice",)),
    "json: a calculation that failed": (from_json(('"success": true', '"success": false')), ("the calculation failed",)),
    "json: no result": (from_json(('"return_result"', '"result"')), ("no return_result",)),
    "json: a ghost atom": (from_json(("   true,", "   false,")), ("atom 0 is a ghost",)),
    "json: a number lost": (from_json((f"  {FIRST!r},\n", "")), ("the Hessian has 80 values",)),
    "json: ragged": (
        ("water.json", lambda: changed(qcschema(WATER), ('"return_result": [', '"return_result": [[1], [1, 2],'))),
        ("the Hessian",),
    ),
    "json: numbers as text": (
        from_json((f'"return_energy": {WATER.energy}', '"return_energy": "low"')),
        ("'low'", "numbers"),
    ),
    "json: too few marks of ghosts": (from_json(("   true,\n", "")), ("molecule.real must say of each of 3 atoms",)),
    "json: properties that are none": (
        ("water.json", lambda: changed(qcschema(WATER), ('"properties"', '"extras": [1],\n "properties"'))),
        ("must be an object",),
    ),
    "json: symbols that are none": (from_json(('"O"', "8")), ("molecule.symbols", "list of symbols")),
    "json: half an electron": (
        from_json(('"molecular_charge": 0.0', '"molecular_charge": 0.5')),
        ("molecular_charge is 0.5", "whole number"),
    ),
    "xyz: no number of atoms": (from_xyz(("3\n", "three\n")), ("line 1", "'three'")),
    "xyz: a negative number of atoms": (from_xyz(("3\n", "-3\n")), ("line 1", "-3 atoms")),
    "xyz: more atoms than lines": (from_xyz(("3\n", "999999999\n")), ("line 1", "but 3 lines follow")),
    "xyz: two frames": (("water.xyz", lambda: 2 * xyz(WATER)), ("line 6", "one frame")),
    "xyz: a column lost": (("water.xyz", lambda: "1\n\nO 0.0 0.0\n"), ("line 3", "three coordinates")),
    "xyz: the last number cut": (("water.xyz", lambda: xyz(WATER)[:-3]), ("ends within this line",)),
    "xyz: stars": (("water.xyz", lambda: "1\n\nO 0.0 ******** 0.0\n"), ("line 3", "no room for the number")),
    "xyz: calcium or a carbon atom": (from_xyz(("O  ", "CA ")), ("atom 0 has the unknown element 'CA'",), MoleculeError),
    "xyz: in bohr": (
        ("water.xyz", lambda: f"3\n\n{coord_rows()}"),
        ("the coordinates look like bohr",),
        UnitError,
    ),
    "xyz: atoms in one place": (
        ("water.xyz", lambda: "2\n\nO 0.0 0.0 0.0\nH 0.0 0.0 0.0\n"),
        ("atoms 0 (O) and 1 (H)",),
        MoleculeError,
    ),
    "coord: fractions of a cell": (("coord", lambda: changed(coord(WATER), ("$coord", "$coord frac"))), ("'$coord frac'",)),
    "coord: not closed": (("coord", lambda: coord(WATER).split("$user")[0]), ("not closed",)),
    "coord: a column lost": (
        ("coord", lambda: changed(coord(WATER), ("      o\n", "\n"))),
        ("three coordinates and a symbol",),
    ),
    "molden: no unit": (("water.molden", lambda: changed(molden(WATER), ("[Atoms] AU", "[Atoms]"))), ("AU or Angs",)),
    "molden: a ghost atom": (("water.molden", lambda: changed(molden(WATER), ("    1    8", "    1    0"))), ("ghost",)),
    "molden: a column lost": (("water.molden", lambda: changed(molden(WATER), ("    1    8", "    8"))), ("line 5",)),
    "molden: nothing after the atoms": (("water.molden", lambda: molden(WATER).split("[GTO]")[0]), ("nothing follows",)),
    "molden: atoms twice": (("water.molden", lambda: changed(molden(WATER), ("[MO]", "[Atoms] AU"))), ("second time",)),
    "molden: no atoms": (("water.molden", lambda: "[Molden Format]\n[GTO]\n"), ("it has no [Atoms]",)),
    "a Hessian alone": (("hessian", lambda: xtb_hessian(WATER)), ("Give the geometry first",)),
    "an output of ORCA": (("water.out", lambda: " " * 33 + "* O   R   C   A *\n"), ("ORCA output", ".hess")),
    "nothing but blanks": (("water.log", lambda: "\n \n"), ("nothing in it but blanks",)),
    "nothing": (("water.log", lambda: ""), ("it is empty",)),
    "something else": (("water.log", lambda: "What is this?\n"), ("its format is not known", "format=")),
    "binary": (("water.fchk", lambda: "\0\1\2"), ("it is binary", "formchk")),
}
"""Sentence -> (name of the file, its text), words of the message, and the type of the error where it is another."""


def last_columns_lost(text):
    """An ORCA file with the first block of the Hessian only."""
    start, stop = text.index(f"{5:19d}{6:19d}"), text.index("\n$vibrational")
    return text[: text.rindex("\n", 0, start) + 1] + text[stop:]


def without_second_hydrogen(text):
    """A punch file as of a symmetric molecule: unique atoms only."""
    start = text.index("H   ", text.index("H   ") + 4)
    return text[:start] + text[text.index("\n\n", start) + 2 :]


def z_matrix(text):
    line = next(line for line in text.splitlines(True) if line.startswith(" H2"))
    return text.replace(line, " H2  O1  0.96\n", 1)


def without_line(text, start):
    lines = text.splitlines(keepends=True)
    lost = next(number for number, line in enumerate(lines) if line.startswith(start))
    return "".join(lines[:lost] + lines[lost + 1 :])


def coord_rows():
    return "".join(f"{row.split()[3]} {' '.join(row.split()[:3])}\n" for row in coord(WATER).splitlines()[1:4])


@pytest.mark.parametrize("sentence", SPOILT)
def test_spoilt_files_are_refused_with_what_is_wrong(sentence, tmp_path):
    (name, text), words, *other = SPOILT[sentence]
    path = tmp_path / name
    path.write_text(text())
    refused(lambda: Molecule.read(path), str(path), *words, error=other[0] if other else QMFileError)


def npz(**changes):
    fields = {"symbols": list(WATER.symbols), "coordinates": WATER.coordinates, "hessian": WATER.hessian, **changes}
    stream = io.BytesIO()
    np.savez(stream, **{name: value for name, value in fields.items() if value is not None})
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def vast():
    """An array whose header promises more than any memory holds."""
    return npy(np.zeros((9, 9))).replace(b"(9, 9), }      ", b"(9, 999999999)}")


def twice():
    stream = io.BytesIO(npz())
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("symbols.npy", npy(np.array(["O"])))
    return stream.getvalue()


ARCHIVES = {
    "cut": (lambda: npz()[:400], ("no .npz file, or is damaged",)),
    "not an archive": (lambda: b"nothing", ("no .npz file, or is damaged",)),
    "pickled objects": (lambda: npz(energy=np.array([{}], dtype=object)), ("energy holds Python objects",)),
    "pickled symbols": (lambda: npz(symbols=np.array(["O", "H", "H"], dtype=object)), ("symbols holds Python objects",)),
    "no symbols": (lambda: npz(symbols=None), ("must have 'symbols' and 'coordinates'",)),
    "a Hessian of another molecule": (lambda: npz(hessian=CH3F.hessian), ("hessian has the shape (15, 15)", "(9, 9)")),
    "a triangle of another molecule": (lambda: npz(hessian=None, hessian_tril=np.ones(44)), ("44 values",)),
    "two Hessians": (lambda: npz(hessian_tril=np.ones(45)), ("both hessian and hessian_tril",)),
    "complex numbers": (lambda: npz(hessian=WATER.hessian.astype(complex)), ("hessian must be real numbers",)),
    "not finite": (lambda: npz(gradient=np.full((3, 3), np.nan)), ("element (0, 0) of gradient is nan",)),
    "half an electron": (lambda: npz(charge=0.5), ("charge is 0.5",)),
    "symbols that are numbers with decimals": (lambda: npz(symbols=[8.0, 1.0, 1.0]), ("symbols must be a list",)),
    "of another version": (lambda: npz().replace(b"NUMPY\x01\x00", b"NUMPY\x09\x00", 1), ("damaged",)),
    "two charges": (lambda: npz(charge=[0, 1]), ("charge must be one number",)),
    "an array twice": (twice, ("an array is there twice",)),
    "other atoms than coordinates": (lambda: npz(symbols=["O", "H"]), ("coordinates has the shape (3, 3)",)),
}


@pytest.mark.parametrize("sentence", ARCHIVES)
def test_spoilt_archives_are_refused(sentence, tmp_path):
    data, words = ARCHIVES[sentence]
    path = tmp_path / "water.npz"
    path.write_bytes(data())
    refused(lambda: Molecule.read(path), str(path), *words)


@pytest.mark.parametrize("tenth", range(1, 10))
def test_cut_archives_are_refused(tenth, tmp_path):
    path = tmp_path / "water.npz"
    path.write_bytes(npz()[: tenth * len(npz()) // 10])
    refused(lambda: Molecule.read(path), str(path))


SECOND = {
    "of another shape": (lambda: npy(CH3F.hessian), "other.npy", ("(15, 15)", "(9, 9) or (3, 3, 3, 3)")),
    "of objects": (lambda: npy(np.array([{}], dtype=object)), "other.npy", ("Python objects",)),
    "of more than all memory": (vast, "other.npy", ("should have", "the file was cut")),
    "cut": (lambda: npy(WATER.hessian)[:-8], "other.npy", ("should have 648 bytes, but has 640",)),
    "no array": (lambda: b"nothing at all", "other.npy", ("no array of NumPy's",)),
    "of another molecule": (lambda: xtb_hessian(CH3F).encode(), "hessian", ("has 225 values, but the 3 atoms",)),
    "twice": (lambda: 2 * xtb_hessian(WATER).encode(), "hessian", ("$hessian is there 2 times",)),
    "with garbage at its end": (lambda: xtb_hessian(WATER).encode() + b"end\n", "hessian", ("is 'end'",)),
    "of another molecule, with atoms": (lambda: fchk(CH3F).encode(), "other.fchk", ("they have 3 and 5 atoms",)),
    "of other elements": (
        lambda: changed(fchk(WATER), (ATOM_NUMBERS, ATOM_NUMBERS[:-1] + "3")).encode(),
        "other.fchk",
        ("atom 2 is H, but in the file of the Hessian it is 3",),
    ),
    "in another frame": (lambda: turned().encode(), "other.fchk", ("another geometry, orientation or order of atoms",)),
    "without a Hessian": (lambda: xyz(WATER).encode(), "other.xyz", ("it has no Hessian",)),
    "missing": (None, "other.npy", ("cannot be opened",)),
}


def turned():
    """Water, turned by a quarter about z."""
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    whole = np.kron(np.eye(3), quarter)
    molecule = Molecule(WATER.symbols, WATER.coordinates @ quarter.T, whole @ WATER.hessian @ whole.T, energy=-76.0)
    object.__setattr__(molecule, "gradient", np.zeros((3, 3)))
    return fchk(molecule)


@pytest.mark.parametrize("sentence", SECOND)
def test_second_files_that_do_not_belong_are_refused(sentence, tmp_path):
    data, name, words = SECOND[sentence]
    first, second = tmp_path / "first.xyz", tmp_path / name
    first.write_text(xyz(WATER))
    if data is not None:
        second.write_bytes(data())
    refused(lambda: Molecule.read(first, hessian=second), "first" if "it is 3" in words[0] else name, *words)


def test_two_hessians_are_one_too_many(tmp_path):
    first, second = place(tmp_path, "water.fchk", fchk(WATER)), place(tmp_path, "water.log", gaussian_log(WATER))
    refused(lambda: Molecule.read(first, hessian=second), "it has a Hessian, and hessian=", "Leave one out")
    refused(lambda: Molecule.read(first, hessian=True), "hessian is True; give the path")


def test_paths_that_are_none_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: Molecule.read(tmp_path), "it is no file")
    refused(lambda: Molecule.read(tmp_path / "pipe"), "it is no file")
    refused(lambda: Molecule.read(tmp_path / "missing.fchk"), "missing.fchk", "cannot be opened")
    refused(lambda: Molecule.read("a\0b.fchk"), "path is 'a", "which no file can have")
    refused(lambda: Molecule.read(3), "path is 3; give a string or a Path")
    refused(
        lambda: Molecule.read(place(tmp_path, "water.fchk", fchk(WATER)), format="gausian"), "'gausian'", "gaussian-fchk"
    )
    refused(lambda: Molecule.read(place(tmp_path, "w.npy", npy(WATER.hessian))), "Give it as hessian= of a geometry")


def test_files_that_are_too_large_are_refused_unread(tmp_path, monkeypatch):
    path = place(tmp_path, "water.fchk", fchk(WATER))
    monkeypatch.setattr("q2mm_accel.readers.text.LARGEST", 100)
    refused(lambda: Molecule.read(path), "water.fchk", "GiB")
    monkeypatch.setattr("q2mm_accel.readers.arrays.LARGEST", 100)
    monkeypatch.setattr("q2mm_accel.readers.text.LARGEST", 10**6)
    refused(lambda: Molecule.read(place(tmp_path, "water.npz", npz())), "water.npz", "unpacked")


def test_a_file_of_another_format_than_said_is_refused(tmp_path):
    for name, write in WITH_HESSIAN.items():
        path = place(tmp_path, name, write(WATER))
        for other in [name for name in FORMATS if name not in ("npz", "npy")]:
            try:
                assert Molecule.read(path, format=other).hessian is not None
            except QMFileError as error:
                assert str(path) in str(error)
    assert set(GEOMETRIES) < set(WRITERS)

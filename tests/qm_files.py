"""Small files in the layouts of QM programs, written from our own data: what readers are tried on, and what is spoilt.

Each writer takes a molecule with Hessian, gradient and energy, and gives the text of a file. The layouts are those of the
programs' documentation and outputs; the numbers have as many digits as theirs.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from q2mm_accel import Molecule
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.vibrations import normal_modes_of
from q2mm_accel.units import BOHR_TO_ANGSTROM

NUMBERS = {symbol: number for number, symbol in enumerate(MASSES, start=1)}
AVERAGE = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "F": 18.998}
"""[u] of natural mixtures of isotopes, with which ORCA computes frequencies."""


def example(name: str) -> Molecule:
    """A shipped molecule, with a small gradient that adds up to no net force."""
    molecule = load_molecule(name)
    slopes = 1e-6 * np.arange(3.0 * molecule.n_atoms).reshape(-1, 3)
    return replace(molecule, gradient=slopes - slopes.mean(axis=0))


WATER, CH3F = example("water"), example("ch3f")


def five(molecule: Molecule) -> np.ndarray:
    """Masses with five decimals, as programs print them [u]."""
    return molecule.masses.round(5)


def vibrations(molecule: Molecule, masses: np.ndarray) -> np.ndarray:
    """Frequencies with these masses, rigid motions projected out [cm⁻¹]."""
    return normal_modes_of(molecule.hessian, molecule.coordinates, masses).frequencies


def lines_of(values, form: str, per_line: int) -> str:
    words = [format(value, form) for value in values]
    return "".join("".join(words[start : start + per_line]) + "\n" for start in range(0, len(words), per_line))


def lower(molecule: Molecule) -> np.ndarray:
    return molecule.hessian[np.tril_indices(3 * molecule.n_atoms)]


def fchk(molecule: Molecule) -> str:
    """Gaussian's formatted checkpoint file of a frequency job."""

    def array(name: str, values) -> str:
        return f"{name:<43}R   N={len(values):12d}\n" + lines_of(values, "16.8E", 5)

    numbers = [NUMBERS[symbol] for symbol in molecule.symbols]
    modes = vibrations(molecule, molecule.masses)
    text = f"{'title of a job':<72}\n{'Freq':<10}{'RB3LYP':<60}{'6-31+G(d)':<20}\n"
    for name, value in (("Number of atoms", molecule.n_atoms), ("Charge", molecule.charge), ("Multiplicity", 1)):
        text += f"{name:<43}I{value:17d}\n"
    text += f"{'Atomic numbers':<43}I   N={molecule.n_atoms:12d}\n" + lines_of(numbers, "12d", 6)
    text += array("Nuclear charges", numbers)
    text += array("Current cartesian coordinates", molecule.coordinates.ravel() / BOHR_TO_ANGSTROM)
    text += array("Real atomic weights", molecule.masses)
    text += f"{'Total Energy':<43}R{molecule.energy:27.15E}\n"
    text += array("Cartesian Gradient", molecule.gradient.ravel()) + array("Cartesian Force Constants", lower(molecule))
    text += f"{'Number of Normal Modes':<43}I{len(modes):17d}\n"
    return text + array("Vib-E2", [*modes, *np.ones(13 * len(modes))])


def gaussian_log(molecule: Molecule, job: str = "Freq", separator: str = "\\") -> str:
    """The parts of Gaussian's output of a frequency job that count, and some that do not."""
    modes = vibrations(molecule, five(molecule))
    text = " Entering Gaussian System, Link 0=g16\n Harmonic frequencies (cm**-1), IR intensities (KM/Mole)\n"
    text += " Frequencies ---" + "".join(f"{value:10.4f}" for value in modes[:5]) + "\n"
    for start in range(0, len(modes), 3):
        text += " Frequencies -- " + "".join(f"{value:12.4f}           " for value in modes[start : start + 3]) + "\n"
        text += " Red. masses -- " + "".join(f"{1:12.4f}           " for _ in modes[start : start + 3]) + "\n"
    text += " - Thermochemistry -\n"
    for atom, (symbol, mass) in enumerate(zip(molecule.symbols, five(molecule), strict=True), start=1):
        text += f" Atom {atom:5d} has atomic number {NUMBERS[symbol]:2d} and mass {mass:9.5f}\n"
    places = zip(molecule.symbols, molecule.coordinates, strict=True)
    atoms = [f"{molecule.charge},1", *(f"{symbol},{x:.10f},{y:.10f},{z:.10f}" for symbol, (x, y, z) in places)]
    fields = ["1", "1", "GINC-NODE", job, "RB3LYP", "6-31+G(d)", "X1", "ME", "01-Jan-2020", "0"]
    last = [f"{value:.8f}" for value in (*lower(molecule), *molecule.gradient.ravel())]
    count = len(lower(molecule))
    parts = [fields, ["#p b3lyp/6-31+g(d) freq"], ["title of a job"], atoms]
    parts += [["Version=ES64L-G16RevC.01", f"HF={molecule.energy:.7f}", "PG=C01 [X(X1)]", "NImag=0"]]
    parts += [[",".join(last[:count])], [",".join(last[count:])], ["", "@"]]
    entry = (2 * separator).join(separator.join(part) for part in parts)
    text += "".join(f" {entry[start : start + 70]}\n" for start in range(0, len(entry), 70))
    return text + "\n\n Normal termination of Gaussian 16\n"


def with_entry(text: str, *pairs: tuple[str, str]) -> str:
    """An output of Gaussian with changes in its archive entry, wherever its lines break: old parts and new ones."""
    start, stop = text.index(" 1\\1\\"), text.index("@") + 1
    entry = "".join(line[1:] for line in text[start:stop].splitlines())
    for old, new in pairs:
        assert old in entry, f"there is no {old!r} in the archive entry"
        entry = entry.replace(old, new)
    return text[:start] + "".join(f" {entry[at : at + 70]}\n" for at in range(0, len(entry), 70)) + text[stop:]


def orca_hess(molecule: Molecule) -> str:
    """ORCA's .hess file."""
    masses = np.array([AVERAGE[symbol] for symbol in molecule.symbols])
    size = 3 * molecule.n_atoms
    text = f"\n$orca_hessian_file\n\n$act_energy\n{molecule.energy:16.6f}\n\n$hessian\n{size}\n"
    for start in range(0, size, 5):
        columns = range(start, min(start + 5, size))
        text += " " * 9 + "".join(f"{column:19d}" for column in columns) + "\n"
        text += "".join(
            f"{row:5d}" + "".join(f"{molecule.hessian[row, column]:19.10E}" for column in columns) + "\n"
            for row in range(size)
        )
    modes = vibrations(molecule, masses)
    printed = [*np.zeros(size - len(modes)), *modes]
    text += f"\n$vibrational_frequencies\n{size}\n" + "".join(f"{i:5d}{value:16.6f}\n" for i, value in enumerate(printed))
    text += f"\n#\n# The atoms: label  mass x y z (in bohrs)\n#\n$atoms\n{molecule.n_atoms}\n"
    for symbol, mass, place in zip(molecule.symbols, masses, molecule.coordinates / BOHR_TO_ANGSTROM, strict=True):
        text += f" {symbol:<3}{mass:9.5f}" + "".join(f"{value:19.12f}" for value in place) + "\n"
    return text + "\n$actual_temperature\n  0.000000\n\n$frequency_scale_factor\n  1.000000\n\n$end\n"


def qchem_log(molecule: Molecule) -> str:
    """The parts of Q-Chem's output of a frequency job that cclib looks for."""
    rule, size, modes = " " + "-" * 64 + "\n", 3 * molecule.n_atoms, vibrations(molecule, five(molecule))
    text = "                  Welcome to Q-Chem\n\n Q-Chem 5.1, Q-Chem, Inc., Pleasanton, CA (2018)\n\n"
    text += "-" * 62 + "\nUser input:\n" + "-" * 62 + "\n$rem\n jobtype = freq\n method = b3lyp\n$end\n\n$molecule\n 0 1\n"
    for symbol, place in zip(molecule.symbols, molecule.coordinates, strict=True):
        text += f" {symbol} " + " ".join(f"{value:.10f}" for value in place) + "\n"
    text += "$end\n" + "-" * 62 + "\n" + rule + " " * 13 + "Standard Nuclear Orientation (Angstroms)\n"
    text += "    I     Atom           X                Y                Z\n" + rule
    for atom, (symbol, place) in enumerate(zip(molecule.symbols, molecule.coordinates, strict=True), start=1):
        text += f"{atom:5d}      {symbol:<2}" + "".join(f"{value:17.10f}" for value in place) + "\n"
    text += (
        rule
        + " Nuclear Repulsion Energy =     8.8870062630 hartrees\n There are        5 alpha and        5 beta electrons\n"
    )
    text += f" Total energy in the final basis set = {molecule.energy:20.10f}\n\n Hessian of the SCF Energy\n"
    for start in range(0, size, 6):
        columns = range(start, min(start + 6, size))
        text += "".join(f"{column + 1:12d}" for column in columns) + "\n"
        for row in range(size):
            text += f"{row + 1:5d}" + "".join(f"{molecule.hessian[row, column]:12.7f}" for column in columns) + "\n"
    stars = " " + "*" * 70 + "\n"
    text += stars + " **                       VIBRATIONAL ANALYSIS                       **\n" + stars + "\n\n"
    for start in range(0, len(modes), 3):
        some = modes[start : start + 3]
        text += " Mode:     " + "".join(f"{start + i + 1:13d}          " for i in range(len(some))) + "\n"
        text += " Frequency:" + "".join(f"{value:13.2f}          " for value in some) + "\n"
        text += " Force Cnst:" + "".join(f"{1:12.4f}          " for _ in some) + "\n"
        text += " Red. Mass:" + "".join(f"{1:13.4f}          " for _ in some) + "\n"
        text += " IR Active: " + "         YES          " * len(some) + "\n"
        text += " IR Intens:" + "".join(f"{1:13.3f}          " for _ in some) + "\n"
        text += (
            " Raman Active:"
            + "       YES           " * len(some)
            + "\n"
            + " " * 15
            + "X      Y      Z        " * len(some)
            + "\n"
        )
        for symbol in molecule.symbols:
            text += f" {symbol:<3}     " + "  ".join("  0.000" * 3 for _ in some) + "\n"
        text += " TransDip" + "  0.000  0.000  0.000  " * len(some) + "\n\n"
    text += " STANDARD THERMODYNAMIC QUANTITIES AT   298.15 K  AND     1.00 ATM\n\n"
    text += "   This Molecule has  0 Imaginary Frequencies\n"
    text += "   Zero point vibrational energy:       14.398 kcal/mol\n\n"
    for atom, (symbol, mass) in enumerate(zip(molecule.symbols, five(molecule), strict=True), start=1):
        text += f"   Atom {atom:4d} Element {symbol:<2} Has Mass {mass:10.5f}\n"
    text += f"   Molecular Mass: {five(molecule).sum():12.6f} amu\n   Translational Enthalpy:        0.889 kcal/mol\n\n"
    text += "   Total Enthalpy:               16.769 kcal/mol\n   Total Entropy:                45.245  cal/mol.K\n"
    text += f"\n        {'*' * 61}\n        *{' ' * 59}*\n"
    return text + f"        *  Thank you very much for using Q-Chem.  Have a nice day.  *\n        {'*' * 61}\n\n"


def gamess_dat(molecule: Molecule, group: str = "C1       0") -> str:
    """GAMESS's punch file of a Hessian job."""
    text = f" $DATA  \ntitle of a job\n{group}\n"
    atoms = list(zip(molecule.symbols, molecule.coordinates, molecule.gradient, strict=True))
    for symbol, place, _ in atoms:
        text += f"{symbol:<10}{NUMBERS[symbol]:5.1f}" + "".join(f"{value:18.10f}" for value in place) + "\n   N31     6\n\n"
    text += f" $END      \nE(R-B3LYP)= {molecule.energy:20.10f}, E(NUC)=    8.8870062630,   13 ITERS\n"
    text += f" $GRAD  \nE={molecule.energy:20.10f}  GMAX=   0.0000138  GRMS=   0.0000069\n"
    for symbol, _, slope in atoms:
        text += f"{symbol:<10}{NUMBERS[symbol]:5.0f}." + "".join(f"{value:20.10E}" for value in slope) + "\n"
    text += f" $END\n $HESS\nENERGY IS {molecule.energy:20.10f} E(NUC) IS {8.8870062630:20.10f}\n"
    for row, values in enumerate(molecule.hessian, start=1):
        for line, start in enumerate(range(0, len(values), 5), start=1):
            text += f"{row:2d}{line:3d}" + "".join(f"{value:15.8E}" for value in values[start : start + 5]) + "\n"
    text += " $END\n----- START OF NORMAL MODES FOR -MOLPLT- PROGRAM -----\nATOMIC MASSES\n"
    text += lines_of(five(molecule), "12.5f", 5)
    for mode, value in enumerate(np.abs(replace(molecule, masses=five(molecule)).frequencies()), start=1):
        text += f"MODE{mode:6d}   FREQUENCY={value:10.5f} (CM**-1)\n" + f"{0:17.9E}{0:17.9E}{0:17.9E}\n" * molecule.n_atoms
    return text + "----- END OF NORMAL MODES FOR -MOLPLT- PROGRAM -----\n"


def jaguar_in(molecule: Molecule) -> str:
    """Jaguar's restart file of a frequency job."""
    text = "MAEFILE: title of a job\n&gen \nbasis=lacvp** \nmolchg=0 \nifreq=1 \n&\n&zmat\n"
    for atom, (symbol, place) in enumerate(zip(molecule.symbols, molecule.coordinates, strict=True), start=1):
        text += f" {symbol}{atom:<3}" + "".join(f"{value:25.10f}" for value in place) + "\n"
    text += "&\n&hess\n"
    size = 3 * molecule.n_atoms
    for start in range(0, size, 5):
        text += f"{start + 1:4d}\n"
        for row in range(start, size):
            values = molecule.hessian[row, start : min(row + 1, start + 5)]
            text += f"{row + 1:4d}" + "".join(f"{value:15.6E}" for value in values) + "\n"
    return text + "&\n&valid\nmultip=1\n&\n"


def qcschema(molecule: Molecule) -> str:
    """A result of the driver "hessian"."""
    geometry = (molecule.coordinates.ravel() / BOHR_TO_ANGSTROM).tolist()
    inside = {"schema_name": "qcschema_molecule", "symbols": list(molecule.symbols), "geometry": geometry}
    inside |= {"molecular_charge": float(molecule.charge), "molecular_multiplicity": 1, "masses": molecule.masses.tolist()}
    inside |= {"real": [True] * molecule.n_atoms, "comment": "title of a job"}
    properties = {"return_energy": molecule.energy, "return_gradient": molecule.gradient.tolist()}
    content = {"schema_name": "qcschema_output", "schema_version": 1, "molecule": inside, "driver": "hessian"}
    content |= {"properties": properties, "return_result": molecule.hessian.ravel().tolist(), "success": True}
    return json.dumps(content, indent=1) + "\n"


def xyz(molecule: Molecule) -> str:
    """A geometry."""
    rows = zip(molecule.symbols, molecule.coordinates, strict=True)
    return f"{molecule.n_atoms}\ntitle of a job\n" + "".join(
        f"{symbol:<4}" + "".join(f"{value:20.12f}" for value in place) + "\n" for symbol, place in rows
    )


def coord(molecule: Molecule) -> str:
    """Turbomole's geometry."""
    rows = zip(molecule.symbols, molecule.coordinates / BOHR_TO_ANGSTROM, strict=True)
    text = "".join("".join(f"{value:22.14f}" for value in place) + f"      {symbol.lower()}\n" for symbol, place in rows)
    return f"$coord\n{text}$user-defined bonds\n$end\n"


def molden(molecule: Molecule) -> str:
    """The atoms of a Molden file, and the beginning of what follows."""
    text = "[Molden Format]\n[Title]\n title of a job\n[Atoms] AU\n"
    for atom, (symbol, place) in enumerate(zip(molecule.symbols, molecule.coordinates / BOHR_TO_ANGSTROM, strict=True), 1):
        text += f"{symbol:<4}{atom:5d}{NUMBERS[symbol]:5d}" + "".join(f"{value:24.14E}" for value in place) + "\n"
    return text + "[GTO]\n  1 0\n s    1  1.0\n  130.7 1.0\n\n[MO]\n"


def xtb_hessian(molecule: Molecule) -> str:
    """The file `hessian` of xtb."""
    return "$hessian\n" + lines_of(molecule.hessian.ravel(), "15.10f", 5)


WITH_HESSIAN: dict[str, Callable[[Molecule], str]] = {
    "water.fchk": fchk,
    "water.log": gaussian_log,
    "water.hess": orca_hess,
    "water.out": qchem_log,
    "water.dat": gamess_dat,
    "water.in": jaguar_in,
    "water.json": qcschema,
}
"""Name of a file -> its writer; these hold a Hessian themselves."""
GEOMETRIES: dict[str, Callable[[Molecule], str]] = {"water.xyz": xyz, "coord": coord, "water.molden": molden}
"""The same for files that have it beside them."""
WRITERS = WITH_HESSIAN | GEOMETRIES


def place(folder, name: str, text: str | bytes):
    """Write a file, geometries with their Hessian beside them, and give its path."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if name in GEOMETRIES:
        (folder / "hessian").write_text(xtb_hessian(WATER))
    return path


def same(first: Molecule, second: Molecule) -> bool:
    """Whether two molecules have the same numbers."""

    def equal(one, other) -> bool:
        return (one is None) == (other is None) and (one is None or np.array_equal(one, other))

    plain = ("symbols", "energy", "charge", "multiplicity")
    arrays = ("coordinates", "hessian", "gradient", "masses")
    values = all(getattr(first, name) == getattr(second, name) for name in plain)
    return values and all(equal(getattr(first, name), getattr(second, name)) for name in arrays)

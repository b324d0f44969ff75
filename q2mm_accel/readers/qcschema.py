"""QCSchema JSON of Psi4, QCEngine and others: a result of the driver "hessian", or a molecule.

Read here: the models of qcelemental 0.51 refuse what Psi4 1.3 writes (a field `raw_output`), those of qc-iodata 1.0
leave Hessians out, and JSON needs no parser of its own.
"""

import json
from collections import Counter
from typing import Any

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile
from q2mm_accel.units import BOHR_TO_ANGSTROM


def read(file: TextFile) -> QMRecord:
    """A molecule of QCSchema: symbols, geometry, and what the result holds of Hessian, gradient and energy.

    Raises:
        QMFileError: no JSON, not of this schema, a calculation that failed, or ghost atoms.
    """
    content = _json(file)
    molecule = content.get("molecule", content)
    if "input_data" in content and "molecule" not in content:
        molecule = _within(file, content["input_data"], "molecule", "input_data")
    if not isinstance(molecule, dict) or not {"symbols", "geometry"} <= set(molecule):
        raise file.wrong("it has no molecule with symbols and geometry; it is not QCSchema, or was cut.")
    if content.get("success") is False or content.get("error"):
        raise file.wrong(f"the calculation failed: {str(content.get('error'))!r:.100}.")
    symbols = molecule["symbols"]
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise file.wrong(f"molecule.symbols is {symbols!r:.60}; it must be a list of symbols.")
    _check_real(file, molecule, len(symbols))
    size = 3 * len(symbols)
    results = _results(file, content)
    return QMRecord(
        path=file.path,
        format="qcschema",
        symbols=tuple(symbols),
        coordinates=_required(file, molecule["geometry"], (len(symbols), 3), "molecule.geometry") * BOHR_TO_ANGSTROM,
        hessian=_array(file, results.get("hessian"), (size, size), "the Hessian"),
        gradient=_array(file, results.get("gradient"), (len(symbols), 3), "the gradient"),
        energy=None if results.get("energy") is None else float(_required(file, results["energy"], (), "the energy")),
        charge=_whole(file, molecule, "molecular_charge"),
        multiplicity=_whole(file, molecule, "molecular_multiplicity"),
        masses=_array(file, molecule.get("masses"), (len(symbols),), "molecule.masses"),
    )


def _json(file: TextFile) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise file.wrong(f"{twice!r} is there twice. Keep the one that counts.")
        return content

    try:
        content = json.loads(file.text, object_pairs_hook=unique)
    except json.JSONDecodeError as problem:
        raise file.error(
            problem.lineno - 1, f"this is no JSON, or was cut: {problem.msg} (column {problem.colno})."
        ) from problem
    except QMFileError:  # a ValueError too
        raise
    except RecursionError as problem:
        raise file.wrong("its JSON is nested too deeply to be a result.") from problem
    except ValueError as problem:
        raise file.wrong(f"its JSON cannot be read: {str(problem):.100}.") from problem
    if not isinstance(content, dict):
        raise file.wrong(f"it is a JSON {type(content).__name__}, not a result of QCSchema.")
    return content


def _within(file: TextFile, parent: Any, name: str, what: str) -> Any:
    if not isinstance(parent, dict):
        raise file.wrong(f"{what} is {parent!r:.60}; it must be an object.")
    return parent.get(name, {})


def _results(file: TextFile, content: dict[str, Any]) -> dict[str, Any]:
    """Hessian, gradient and energy, from wherever programs put them."""
    properties = _within(file, content, "properties", "the result") or {}
    variables = _within(file, _within(file, content, "extras", "the result") or {}, "qcvars", "extras") or {}
    driver = content.get("driver", _within(file, content.get("input_data", {}), "driver", "input_data"))
    if isinstance(specification := _within(file, content.get("input_data", {}), "specification", "input_data"), dict):
        driver = driver or specification.get("driver")
    found = {}
    for name in ("hessian", "gradient", "energy"):
        choices = (
            content.get("return_result") if driver == name else None,
            _within(file, properties, f"return_{name}", "properties"),
            _within(file, variables, f"CURRENT {name.upper()}", "extras.qcvars"),
        )
        found[name] = next((value for value in choices if value not in (None, {})), None)
    if driver == "hessian" and found["hessian"] is None:
        raise file.wrong("its driver is 'hessian', but there is no return_result: the calculation did not end.")
    return found


def _check_real(file: TextFile, molecule: dict[str, Any], n_atoms: int) -> None:
    real = molecule.get("real")
    if real is None:
        return
    if not isinstance(real, list) or len(real) != n_atoms:
        raise file.wrong(f"molecule.real must say of each of {n_atoms} atoms whether it is one.")
    ghosts = [atom for atom, is_real in enumerate(real) if is_real is not True]
    if ghosts:
        raise file.wrong(f"atom {ghosts[0]} is a ghost (molecule.real is {real[ghosts[0]]!r}). Leave it out.")


def _array(file: TextFile, values: Any, shape: tuple[int, ...], what: str) -> np.ndarray | None:
    return None if values is None else _required(file, values, shape, what)


def _required(file: TextFile, values: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Numbers, flat or nested, in a shape."""
    try:
        array = np.asarray(values)
    except ValueError as problem:
        raise file.wrong(f"{what} is ragged: rows have different lengths.") from problem
    if array.dtype.kind not in "fiu":
        raise file.wrong(f"{what} is {values!r:.60}; it must be numbers.")
    if array.size != int(np.prod(shape)):
        raise file.wrong(f"{what} has {array.size} values, but the atoms make them {int(np.prod(shape))}.")
    return array.astype(np.float64).reshape(shape)


def _whole(file: TextFile, molecule: dict[str, Any], name: str) -> int | None:
    value = molecule.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise QMFileError(f"{file.path}: molecule.{name} is {value!r:.60}; it must be a whole number.")
    return int(value)

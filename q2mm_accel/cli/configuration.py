"""What is to be done, from words of the command and TOML files."""

import glob
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from q2mm_accel.errors import OptionError

KEYS: dict[str, type | tuple[type, ...]] = {
    "inputs": list,
    "q2mm": str,
    "output": str,
    "export": list,
    "form": str,
    "by": str,
    "urey_bradley": (bool, str),
    "couplings": bool,
    "vdw": bool,
    "displacement": (int, float),
    "stiffness": (int, float),
    "refine": str,
    "maxiter": int,
    "bond_tolerance": (int, float),
    "impropers": bool,
    "stiff_torsions": bool,
    "angle_gap": (int, float),
    "bond_gap": (int, float),
    "periodicities": list,
    "active": list,
    "priors": dict,
}
"""What a TOML file may say, and what type each value has."""
_NOT_PREPARED = ("q2mm", "output", "export", "refine", "maxiter", "resume", "priors")


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        inputs: files and names of data sets.
        options: by name, as `KEYS`.
        name: of the folder for results.
    """

    inputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "fit"

    @property
    def for_prepare(self) -> dict[str, Any]:
        """Options of `prepare`, but for priors."""
        return {name: value for name, value in self.options.items() if name not in _NOT_PREPARED}


def request_of(words: Sequence[str], options: dict[str, Any]) -> Request:
    """What words of the command line say, and a TOML file among them; options of the command line count before the file's.

    Raises:
        OptionError: a TOML file beside other inputs, or one that cannot be read, or has a key or value that it cannot have.
    """
    # by identity: 0 is a value
    given = {name: value for name, value in options.items() if value is not None and value is not False and value != ()}
    given |= {name: False for name in ("urey_bradley", "couplings", "vdw") if options.get(name) is False}
    files = [word for word in words if word.endswith(".toml")]
    if not files:
        return Request(tuple(words), given, _name(words))
    if len(words) > 1:
        raise OptionError(f"{files[0]} says itself what to fit: name other inputs in it, as inputs = [...].")
    content = _read(Path(files[0]))
    inputs = [each for entry in content.pop("inputs", []) for each in _expanded(str(entry), Path(files[0]).parent)]
    if bool(inputs) == ("q2mm" in content):
        raise OptionError(
            f'{files[0]}: give either inputs, files or data sets such as inputs = ["*.fchk"], or q2mm = "module:objective".'
        )
    return Request(tuple(inputs), {**content, **given}, Path(files[0]).stem)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}. Give the path of a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}.") from error
    for name, value in content.items():
        if name not in KEYS:
            near = get_close_matches(name, KEYS, n=1, cutoff=0.0)[0]
            raise OptionError(f"{path}: there is no key {name!r}; the nearest is {near!r}. Keys: {', '.join(KEYS)}.")
        wanted = KEYS[name]
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise OptionError(f"{path}: {name} is {value!r:.60}; it must be a {names}.")
    return content


def _expanded(entry: str, folder: Path) -> list[str]:
    """The files that a pattern names, relative to the folder of the TOML file; other entries as they are."""
    pattern = str(folder / entry)
    if glob.has_magic(entry):
        found = sorted(glob.glob(pattern))
        if not found:
            raise OptionError(f"no file is named {pattern}.")
        return found
    return [pattern] if Path(pattern).exists() else [entry]


def _name(words: Sequence[str]) -> str:
    return Path(words[0]).stem if len(words) == 1 else f"{Path(words[0]).stem}-and-{len(words) - 1}-more"

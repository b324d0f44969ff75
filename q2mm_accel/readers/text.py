"""Text files that may be damaged: how they are opened, their numbers, and errors that name file and line."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from q2mm_accel.errors import QMFileError

LARGEST = 2 * 2**30
"""[bytes] Beyond any output that holds a Hessian which this package can use; larger files are refused unread."""

_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDdQq][+-]?\d{1,4})?")
_NO_LETTER = re.compile(r"([+-]?\d?\.\d+)([+-]\d{3})")
"""Fortran drops the letter of exponents with three digits, 0.14-270; numbers run together look different: 219.87-1030.49."""
_DOUBLE = re.compile(r"(?<=\d)[Dd](?=[+-]?\d\d)")


@dataclass(frozen=True)
class TextFile:
    """A text file, line by line."""

    path: Path
    lines: tuple[str, ...]
    """Without their ends, whatever these were."""
    ends: bool
    """Whether the last line has an end: where it has none, the file may have been cut within a number."""
    first: int = 0
    """The place of `lines[0]` in the file, where these are a part of it."""

    @property
    def text(self) -> str:
        """The lines, each with a newline."""
        return "\n".join(self.lines) + "\n"

    def part(self, start: int, stop: int) -> "TextFile":
        """Some of its lines, which keep their numbers in messages."""
        return TextFile(self.path, self.lines[start:stop], self.ends, self.first + start)

    def error(self, line: int, message: str) -> QMFileError:
        """An error that names file and line.

        Args:
            line: index into `lines`.
            message: what is wrong with it, and what to do.
        """
        return QMFileError(f"{self.path}, line {self.first + line + 1}: {message}")

    def wrong(self, message: str) -> QMFileError:
        """An error about the file as a whole."""
        return QMFileError(f"{self.path}: {message}")

    def number(self, word: str, line: int, what: str) -> float:
        """A real number as Fortran, C and Python write it.

        Raises:
            QMFileError: it is something else: stars, two numbers run together, a number that was cut.
        """
        try:
            return to_real(word)
        except ValueError as problem:
            raise self.error(line, f"{what} is {word!r:.60}: {problem}.") from None

    def integer(self, word: str, line: int, what: str) -> int:
        """A whole number.

        Raises:
            QMFileError: it is something else.
        """
        if not re.fullmatch(r"[+-]?\d{1,9}", word):
            raise self.error(line, f"{what} is {word!r:.60}, which is no whole number.")
        return int(word)

    def numbers(self, start: int, stop: int, what: str) -> list[float]:
        """All numbers of the lines from `start` to before `stop`, separated by blanks.

        Raises:
            QMFileError: a word that is no number.
        """
        return [self.number(word, line, what) for line in range(start, stop) for word in self.lines[line].split()]

    def find(self, *starts: str) -> Iterator[int]:
        """Indices of the lines that begin, after blanks, with one of some words."""
        return (index for index, line in enumerate(self.lines) if line.lstrip().startswith(starts))

    def only(self, start: str, needed: str) -> int:
        """The one line that begins with a word.

        Raises:
            QMFileError: there is none, or several.
        """
        found = list(self.find(start))
        if not found:
            raise self.wrong(f"it has no {start.strip()}: {needed}")
        if len(found) > 1:
            places = ", ".join(str(self.first + line + 1) for line in found)
            raise self.wrong(f"{start.strip()} is there {len(found)} times, in lines {places}. Keep the one that counts.")
        return found[0]

    def must_end(self) -> None:
        """Refuse a file whose last line was cut.

        Raises:
            QMFileError: its last line has no end.
        """
        if not self.ends:
            raise self.error(len(self.lines) - 1, "the file ends within this line, as one does that was cut. Copy it again.")


def to_real(word: str) -> float:
    """A real number as programs write it: 1.5, -.5, 1.0D-03, 0.14-270.

    Raises:
        ValueError: it is none; the message says what it looks like.
    """
    bare = _NO_LETTER.fullmatch(word)
    if bare:
        return float(f"{bare[1]}E{bare[2]}")
    if _REAL.fullmatch(word):
        return float(re.sub("[DdQq]", "E", word))
    if "*" in word:
        raise ValueError("the program had no room for the number")
    if re.fullmatch(r"[+-]?(nan|inf(inity)?)(\(.*\))?", word, re.IGNORECASE):
        raise ValueError("it is not finite")
    if len(re.findall(r"\d\.\d*|\.\d+", word)) > 1:
        raise ValueError("two numbers run together")
    raise ValueError("this is no number")


def with_plain_exponents(text: str) -> str:
    """Fortran's 1.0D-03 as 1.0E-03, for libraries that do not know it."""
    return _DOUBLE.sub("E", text)


def known_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that is there and not too large.

    Raises:
        QMFileError: it is no path, not there, no file, empty or larger than `LARGEST`.
    """
    if not isinstance(path, str | os.PathLike):
        raise QMFileError(f"path is {path!r:.60}; give a string or a Path.")
    place = Path(path)
    try:
        size, is_file = place.stat().st_size, place.is_file()
    except ValueError as problem:
        raise QMFileError(f"path is {path!r:.60}, which no file can have ({problem}).") from problem
    except OSError as problem:
        raise QMFileError(f"{place}: it cannot be opened ({problem.strerror or problem}).") from problem
    if not is_file:
        raise QMFileError(f"{place}: it is no file; give the file that the program wrote.")
    if not size:
        raise QMFileError(f"{place}: it is empty.")
    if size > LARGEST:
        raise QMFileError(
            f"{place}: it has {size / 2**30:.1f} GiB, more than {LARGEST / 2**30:.0f}; cut out the job that counts."
        )
    return place


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        QMFileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise QMFileError(f"{path}: it cannot be read ({problem.strerror or problem}).") from problem


def read_text(path: str | os.PathLike[str]) -> TextFile:
    """A text file: UTF-8 or Latin-1, lines ended as on any system.

    Raises:
        QMFileError: it cannot be read, is empty or no text.
    """
    place = known_file(path)
    data = read_bytes(place)
    if b"\0" in data:
        raise QMFileError(f"{place}: it is binary, not text (of Gaussian's .chk files, formchk makes .fchk files).")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise QMFileError(f"{place}: there is nothing in it but blanks.")
    lines = text.split("\n")
    return TextFile(place, tuple(lines[:-1] if text.endswith("\n") else lines), text.endswith("\n"))


def atoms_of(
    file: TextFile, rows: Iterable[tuple[int, str, tuple[str, str, str]]]
) -> tuple[tuple[str, ...], list[list[float]]]:
    """Symbols and coordinates of rows (line, symbol, three words).

    Raises:
        QMFileError: a coordinate is no number.
    """
    symbols, places = [], []
    for line, symbol, words in rows:
        symbols.append(symbol)
        places.append(
            [file.number(word, line, f"coordinate {axis} of {symbol}") for axis, word in zip("xyz", words, strict=True)]
        )
    return tuple(symbols), places

"""JSON files of our own, read back."""

import json
import os

from q2mm_accel.errors import Q2MMAccelError
from q2mm_accel.io.atomic import checked_path


def read_json(path: str | os.PathLike, wanted: str, what: str, error: type[Q2MMAccelError], remedy: str) -> dict:
    """Read a dictionary of plain values that was written as JSON.

    Args:
        path: the file.
        wanted: what its "format" must be.
        what: what such a file holds, for messages.
        error: the type of error to raise.
        remedy: the last sentence of its message.

    Raises:
        Q2MMAccelError: of the type `error`: the file cannot be read, is no JSON, or of another format.
    """
    try:
        content = json.loads(checked_path(path, error).read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}. {remedy}") from problem
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{path} is not JSON: {problem}. {remedy}") from problem
    if not isinstance(content, dict) or content.get("format") != wanted:
        raise error(f"{path} is not {what}: its format must be {wanted!r}. {remedy}")
    return content

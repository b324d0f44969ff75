"""Where the terms of a system come from: a user's OpenMM System as text, and which of its entries each term is."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import TopologyError
from q2mm_accel.model.arguments import instance, real_array


@dataclass(frozen=True, eq=False)
class Origin:
    """The OpenMM System that a system was made of, so that changed parameters can be written back into it.

    Attributes:
        xml: the System, serialized by OpenMM.
        entries: kind -> shape (n_terms or n_pairs, 2), numbers of the force in the System and of the entry in that force.
            Of pairs the entry is the exception of the `NonbondedForce` that holds the pair, -1 where none does.

    Raises:
        TopologyError: no text, or entries that are no pairs of integers.
    """

    xml: str
    entries: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        """Convert to read-only arrays and check them."""
        instance(self.xml, str, "the text of an origin", TopologyError)
        if not isinstance(self.entries, Mapping):
            raise TopologyError(f"the entries of an origin are {self.entries!r:.60}; they must map kinds to arrays.")
        checked = {kind: _checked(kind, rows) for kind, rows in self.entries.items()}
        object.__setattr__(self, "entries", MappingProxyType(checked))

    def __reduce__(self) -> tuple:
        """A mapping that is only a view cannot be pickled."""
        return Origin, (self.xml, dict(self.entries))


def _checked(kind: str, rows: ArrayLike) -> np.ndarray:
    array = real_array(rows if np.size(rows) else np.zeros((0, 2)), f"the origin of {kind}", TopologyError, ndim=2)
    if array.shape[1] != 2 or np.any(array != np.round(array)):
        raise TopologyError(f"the origin of {kind} must be pairs (force, entry) of integers, not {str(rows):.60}.")
    numbers = array.astype(np.int64)
    numbers.flags.writeable = False
    return numbers

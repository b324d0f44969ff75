"""How much each kind of reference counts beside the others."""

from collections.abc import Mapping

import numpy as np

from q2mm_accel.errors import OptionError
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.reference_table import REFERENCE_KINDS, ReferenceTable


def balanced_weights(references: ReferenceTable, balance: str | Mapping[str, float] | None) -> np.ndarray:
    """The weights of references after balancing their kinds.

    Args:
        references: the references.
        balance: None for their own weights; "count" to divide the sum of squares of each kind by the number of its
            references; or a tolerance for each kind that occurs, in the kind's unit, by which deviations are divided.

    Returns:
        Shape (R,).

    Raises:
        OptionError: another balance, a kind without tolerance, or a tolerance that is not above 0.
    """
    if balance is None:
        return references.weight.copy()
    counts = references.kind_counts()
    if isinstance(balance, Mapping):
        divisors = _tolerances(balance, counts)
    elif isinstance(balance, str) and balance == "count":
        divisors = {kind: np.sqrt(count) for kind, count in counts.items()}
    else:
        raise OptionError(f"balance is {balance!r}; give None, 'count' or a tolerance for each of {', '.join(counts)}.")
    return references.weight / references.by_kind(divisors, 1.0)


def _tolerances(balance: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    unknown = [repr(kind) for kind in balance if kind not in REFERENCE_KINDS]
    if unknown:
        raise OptionError(f"balance names {', '.join(unknown)}; kinds of references are {', '.join(REFERENCE_KINDS)}.")
    missing = [kind for kind in counts if kind not in balance]
    if missing:
        raise OptionError(f"balance has no tolerance for {', '.join(missing)}; give one for every kind that occurs.")
    result = {}
    for kind, value in balance.items():
        result[kind] = float(real_array(value, f"balance[{kind!r}]", OptionError, shape=()))
        if result[kind] <= 0.0:
            raise OptionError(f"balance[{kind!r}] is {value}; a tolerance must be above 0.")
    return result

"""The unknowns in which residuals are linear: force constants k, and products c = k (q0 - s) with equilibria q0.

Energies k (q - q0)² = k (q - s)² - 2 c (q - s) + constant have gradients and Hessians that are linear in k and c. For
k >= 0 the bounds of q0 are linear too: (lower - s) k <= c <= (upper - s) k. So are all other parameters that energies are
linear in. s is where q0 starts: with s = 0 only a difference of large numbers would tell a force constant from its product.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds

from q2mm_accel.errors import LinearityError
from q2mm_accel.model.kinds import Kind, pair_kinds, term_kinds
from q2mm_accel.parameters.space import ParameterSpace

_NO_STIFFNESS = 1e-9
"""Below it, relative to a typical change, a force constant is 0, and its equilibrium has no meaning."""
_FORCE = 1e-6
"""From which on, relative to a typical force constant and the equilibrium's own size, a product of both is not 0."""
_CONSTANT = -2
"""Of an equilibrium, in place of an element: its force constant is frozen."""


@dataclass(frozen=True, eq=False)
class Unknowns:
    """What the elements of x are.

    Attributes:
        lower: bounds of x, shape (n,); of force constants with free equilibria not below 0.
        upper: shape (n,).
        start: shape (n,), the values that elements keep which nothing determines.
        partner: shape (n,), of an equilibrium the element of x that is its force constant, -1 for all other elements.
        coupled: shape (n,), elements that are force constants of couplings, whose terms read equilibria of other kinds.
        labels: of x.
    """

    lower: np.ndarray
    upper: np.ndarray
    start: np.ndarray
    partner: np.ndarray
    coupled: np.ndarray
    labels: tuple[str, ...]

    @property
    def centre(self) -> np.ndarray:
        """Shape (n,): s of equilibria, which is their start, and 0 of all other elements."""
        return np.where(self.partner >= 0, self.start, 0.0)

    @property
    def free(self) -> np.ndarray:
        """Elements of x that bounds let move, but for equilibria of force constants that are held at 0."""
        pinned = (self.partner >= 0) & (self.upper[self.partner] == 0.0)
        return np.flatnonzero((self.lower < self.upper) & ~pinned)

    @property
    def equilibria(self) -> np.ndarray:
        """Elements among them that are equilibria with a free force constant."""
        return self.free[self.partner[self.free] >= 0]

    def values(self, x: np.ndarray) -> np.ndarray:
        """The unknowns y at x, (n_free,)."""
        y = x - self.centre
        y[self.equilibria] *= x[self.partner[self.equilibria]]
        return y[self.free]

    def vector(self, y: np.ndarray, typical: np.ndarray) -> np.ndarray:
        """The x with unknowns y, (n,); equilibria of force constants that are 0, in units of `typical`, are at the start."""
        x = np.where(self.lower < self.upper, self.start, self.lower)
        x[self.free] = y
        equilibria, stiffness = self.equilibria, x[self.partner[self.equilibria]]
        present = stiffness > _NO_STIFFNESS * typical[self.partner[equilibria]]
        moves = np.where(present, x[equilibria] / np.where(present, stiffness, 1.0), 0.0)
        x[equilibria] = self.start[equilibria] + moves
        return np.clip(x, self.lower, self.upper)

    def without_stiffness(self, y: np.ndarray, typical: np.ndarray) -> np.ndarray:
        """Equilibria that may be infinite whose product with a force constant is not 0 although the force constant is."""
        x = np.where(self.lower < self.upper, self.start, self.lower)
        x[self.free] = y
        stiffness = self.partner[self.equilibria]
        size = _FORCE * typical[stiffness] * np.maximum(np.abs(self.start[self.equilibria]), typical[self.equilibria])
        endless = np.isinf(self.lower[self.equilibria]) | np.isinf(self.upper[self.equilibria])
        absent = x[stiffness] <= _NO_STIFFNESS * typical[stiffness]
        return self.equilibria[endless & absent & (np.abs(x[self.equilibria]) > size)]

    def tangent(self, x: np.ndarray) -> np.ndarray:
        """∂x/∂y at an x whose force constants are not 0, (n, n_free)."""
        result = np.zeros((len(x), len(self.free)))
        column = dict(zip(self.free.tolist(), range(len(self.free)), strict=True))
        result[self.free, np.arange(len(self.free))] = 1.0
        for equilibrium in self.equilibria.tolist():
            stiffness = int(self.partner[equilibrium])
            result[equilibrium, column[equilibrium]] = 1.0 / x[stiffness]
            if stiffness in column:
                result[equilibrium, column[stiffness]] = -(x[equilibrium] - self.centre[equilibrium]) / x[stiffness]
        return result

    def inequalities(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bounds as A y >= b: A (m, n_free), b (m,), and the element of x that each bounds, (m,)."""
        column = dict(zip(self.free.tolist(), range(len(self.free)), strict=True))
        rows, limits, elements = [], [], []
        for element in self.free.tolist():
            for sign, bound in ((1.0, self.lower[element]), (-1.0, self.upper[element])):
                if not np.isfinite(bound):
                    continue
                row, stiffness = np.zeros(len(self.free)), int(self.partner[element])
                row[column[element]] = sign
                limit = sign * (bound - self.centre[element])
                if stiffness >= 0 and stiffness in column:
                    row[column[stiffness]], limit = -limit, 0.0
                elif stiffness >= 0:
                    limit *= self.lower[stiffness]
                rows.append(row)
                limits.append(limit)
                elements.append(element)
        return np.array(rows).reshape(-1, len(self.free)), np.array(limits), np.array(elements, dtype=np.int64)


def unknowns_of(space: ParameterSpace, start: np.ndarray, bounds: Bounds) -> Unknowns:
    """What the elements of x are, from the declarations of the kinds.

    Args:
        space: what x is.
        start: shape (n,).
        bounds: of x.

    Raises:
        LinearityError: an equilibrium shared by several force constants, or one of a kind with more than two parameters.
    """
    count = len(space.free)
    partner, coupled = np.full(count, -1), np.zeros(count, dtype=bool)
    for name, kind in term_kinds().items():
        for positions in space.forcefield.positions(name):
            own = [elements_of(space, position) for position in positions]
            if kind.reads:
                coupled[[element for each in own for element in each]] = True
            for place in _equilibria(kind):
                _pair(space, kind, positions, own, place, partner)
    for name in pair_kinds():
        for element in sorted(
            {each for position in space.forcefield.positions(name).ravel() for each in elements_of(space, position)}
        ):
            raise LinearityError(
                f"{space.labels[element]!r} is a parameter of atoms, which pairs combine: energies are not linear in it. "
                "Freeze it (active=), or use solve_native."
            )
    partner[partner == _CONSTANT] = -1
    lower, upper = bounds.lb.copy(), bounds.ub.copy()
    stiff = np.unique(partner[(partner >= 0) & (lower < upper)])
    lower[stiff] = np.maximum(lower[stiff], 0.0)
    for element in stiff[upper[stiff] < 0.0]:
        raise LinearityError(
            f"{space.labels[element]!r} has bounds below 0, where bounds of its equilibrium are not linear. Freeze the "
            "equilibrium, or widen the bounds."
        )
    return Unknowns(lower, upper, np.clip(start, lower, upper), partner, coupled, space.labels)


def elements_of(space: ParameterSpace, position: int) -> list[int]:
    """The elements of x that a parameter depends on."""
    present = space.coefficients[position] != 0.0
    return space.columns[position][present].tolist()


def _equilibria(kind: Kind) -> list[int]:
    """Which of a kind's own parameters are equilibria."""
    places = [each.equilibrium for each in kind.coordinates if each.equilibrium is not None]
    return sorted({place for place in places if place < len(kind.parameters)})


def _pair(space: ParameterSpace, kind: Kind, positions: np.ndarray, own: list[list[int]], place: int, partner) -> None:
    """Find the force constant that an equilibrium's element of x is multiplied with."""
    if not own[place]:
        return
    label = space.forcefield.labels[positions[place]]
    others = [number for number in range(len(positions)) if number != place]
    if len(others) != 1 or len(own[place]) > 1 or len(own[others[0]]) > 1:
        raise LinearityError(
            f"{label!r} is no equilibrium with one force constant of its own, so residuals are not linear in a product of "
            "them. Freeze it (active=), or use solve_native."
        )
    (equilibrium,), stiffness = own[place], own[others[0]]
    constant = space.offset[positions[others[0]]]
    if not stiffness and constant == 0.0:
        return
    multiplied, known = stiffness[0] if stiffness else _CONSTANT, int(partner[equilibrium])
    if (stiffness and constant != 0.0) or known not in (-1, multiplied):
        raise LinearityError(
            f"{label!r} follows an element of x that is multiplied with several force constants, or with one that has a "
            "constant part. Tie the force constants in the same way, or freeze the equilibrium, or use solve_native."
        )
    partner[equilibrium] = multiplied

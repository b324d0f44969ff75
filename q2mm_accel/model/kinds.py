"""Kinds of terms as data: what a kind of term is, declared in one place.

A kind names its internal coordinates and its parameters; everything else follows from that: fields of `ForceField` and
`System`, labels, bounds, scales, arrays, gradient, Hessian and residual Jacobian. The scalar energy of a kind belongs to a
functional form (kernel/potentials.py), so that one kind may have several.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from q2mm_accel.errors import FormError
from q2mm_accel.model.arguments import as_tuple, real_array

Sign = Literal["any", "positive", "not negative"]
Measure = Literal["distance", "angle", "clipped_angle", "dihedral"]


@dataclass(frozen=True)
class Parameter:
    """An adjustable parameter of each type of a kind.

    Attributes:
        field: of `ForceField`, that holds one value per type, such as "bond_lengths".
        label: its name in labels, such as "r0".
        unit: of its values; "degrees" reach the energy in radians.
        bounds: default lower and upper bound of fits.
        typical: a change of it that matters as much as typical changes of others: the unit in which solvers step.
        sign: values that make sense.
    """

    field: str
    label: str
    unit: str
    bounds: tuple[float, float]
    typical: float
    sign: Sign = "any"


@dataclass(frozen=True)
class Constant:
    """A number that every type of a kind has and that is never fitted.

    Attributes:
        field: of `ForceField`, that holds one value per type, such as "torsion_periodicities".
        default: where the force field does not say.
        unit: "degrees" reach the energy in radians.
        integer: whether it must be an integer from 1.
    """

    field: str
    default: float
    unit: str = ""
    integer: bool = False


@dataclass(frozen=True)
class Coordinate:
    """An internal coordinate of some of a term's atoms.

    Attributes:
        measure: "distance" [Å], "angle" at the second of three atoms or "dihedral" of four (IUPAC's sign) [rad];
            "clipped_angle" is as q2mm computes angles, whose cosines it keeps 1e-7 away from 1 and -1.
        atoms: which of the term's atoms.
        equilibrium: number of the parameter that is its equilibrium, counted over `Kind.parameters` and then `Kind.reads`.
            The energy then sees the deviation from it (of a dihedral the one within ±π) instead of the coordinate, which
            keeps all digits near a straight angle.
    """

    measure: Measure
    atoms: tuple[int, ...]
    equilibrium: int | None = None


@dataclass(frozen=True)
class Read:
    """A parameter of another kind's term, found by its atoms: the bond length that a stretch-bend term reads.

    Attributes:
        kind: of the other term.
        field: the parameter's.
        atoms: which of the term's atoms are those of the other.
    """

    kind: str
    field: str
    atoms: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of term: some atoms, one or several internal coordinates, parameters by type.

    Its energy takes the coordinates (or deviations), then its parameters, those it reads, and its constants, in the order
    of their declaration. Terms stand in `System` as `<name>_atoms`, shape (n, n_atoms), and `<name>_types`, shape (n,).

    Attributes:
        name: of the kind.
        n_atoms: of a term.
        coordinates: what its energy depends on.
        parameters: adjustable, of each type.
        reads: parameters of other kinds.
        constants: fixed, of each type.
        equivalent: the order of the atoms in which they are the same term; reversed by default.
        instead_of: the kind of pairs that a pair of this kind must not stand in too.
    """

    name: str
    n_atoms: int
    coordinates: tuple[Coordinate, ...]
    parameters: tuple[Parameter, ...]
    reads: tuple[Read, ...] = ()
    constants: tuple[Constant, ...] = ()
    equivalent: tuple[int, ...] | None = None
    instead_of: str | None = None

    def __post_init__(self) -> None:
        """Make tuples of what may be lists or single entries."""
        classes = {"coordinates": Coordinate, "parameters": Parameter, "reads": Read, "constants": Constant}
        for name, wanted in classes.items():
            what = f"the kind {self.name!r}: {name}"
            object.__setattr__(self, name, as_tuple(getattr(self, name), wanted, what, FormError))

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the force field that hold its adjustable parameters."""
        return tuple(parameter.field for parameter in self.parameters)

    @property
    def all_fields(self) -> tuple[str, ...]:
        """These, and then those of its constants."""
        return (*self.fields, *(constant.field for constant in self.constants))

    def same_term(self, atoms: list[int]) -> tuple[int, ...]:
        """The atoms of a term in the one of its equivalent orders that comes first."""
        other = atoms[::-1] if self.equivalent is None else [atoms[place] for place in self.equivalent]
        return tuple(min(atoms, other))


@dataclass(frozen=True)
class PairKind:
    """A kind of interaction between pairs of atoms, whose parameters belong to types of atoms.

    The form combines each parameter of two atoms to that of the pair; the energy takes the distance [Å] and the combined
    parameters. Pairs stand in `System` as `<name>_pairs`, shape (n, 2), with `<name>_types`, shape (n_atoms,), and
    `<name>_factors`, shape (n,), by which their energies are multiplied (1 by default).

    Attributes:
        name: of the kind.
        parameters: adjustable, of each type of atom.
    """

    name: str
    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        """Make a tuple of what may be a list or a single entry."""
        what = f"the kind {self.name!r}: parameters"
        object.__setattr__(self, "parameters", as_tuple(self.parameters, Parameter, what, FormError))

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the force field that hold its adjustable parameters."""
        return tuple(parameter.field for parameter in self.parameters)

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The same: there are no constants."""
        return self.fields


@dataclass(frozen=True)
class Form:
    """A functional form: energies of kinds, and how pairs combine the parameters of their atoms.

    Attributes:
        energies: kind -> scalar energy [kcal/mol], acting element by element on arrays; kinds that are not named have
            the energy they were registered with.
        combinations: field of a pair kind's parameter -> (first, second) -> that of the pair.
        coordinates: kind -> other coordinates than the declared ones, such as those of damped torsions.
        one_four: pair kind -> factor that `perceive` gives to pairs three bonds apart; 1 by default.
        faded: kinds whose energy fades out as an angle becomes straight.
    """

    energies: Mapping[str, Callable]
    combinations: Mapping[str, Callable]
    coordinates: Mapping[str, tuple[Coordinate, ...]] = field(default_factory=dict)
    one_four: Mapping[str, float] = field(default_factory=dict)
    faded: frozenset[str] = frozenset()

    def coordinates_of(self, kind: Kind) -> tuple[Coordinate, ...]:
        """The internal coordinates of a kind in this form."""
        return self.coordinates.get(kind.name, kind.coordinates)


FORMS: dict[str, Form] = {}
"""Functional forms by name; kernel/potentials.py puts them here."""


def form_named(name: str) -> Form:
    """The functional form of that name.

    Raises:
        FormError: there is none.
    """
    if not isinstance(name, str) or name not in FORMS:
        raise FormError(f"unknown functional form {name!r}; known are {', '.join(sorted(FORMS))}.")
    return FORMS[name]


def _stiffness(kind: str, unit: str, bounds: tuple[float, float], typical: float) -> Parameter:
    return Parameter(f"{kind}_force_constants", "k", unit, bounds, typical)


def _distances(kind: str, bounds: tuple[float, float]) -> Parameter:
    return Parameter(f"{kind}_lengths", "r0", "Å", bounds, 0.1, "positive")


_ANY_DIHEDRAL = (-360.0, 360.0)
"""Default bounds of equilibrium dihedrals: a full turn beyond either side, so that 180 degrees is within them."""

_DECLARED: tuple[Kind | PairKind, ...] = (
    # the first five with q2mm's default bounds, but for the stiffness of bonds and angles, which is not below 0 in a minimum
    Kind(
        name="bond",
        n_atoms=2,
        coordinates=(Coordinate("distance", (0, 1), equilibrium=1),),
        parameters=(_stiffness("bond", "kcal/mol/Å²", (0.0, 3600.0), 50.0), _distances("bond", (0.5, 3.0))),
    ),
    Kind(
        name="angle",
        n_atoms=3,
        coordinates=(Coordinate("angle", (0, 1, 2), equilibrium=1),),
        parameters=(
            _stiffness("angle", "kcal/mol/rad²", (0.0, 720.0), 30.0),
            Parameter("angle_values", "theta0", "degrees", (30.0, 180.0), 5.0),
        ),
    ),
    Kind(
        name="torsion",
        n_atoms=4,
        coordinates=(Coordinate("dihedral", (0, 1, 2, 3)),),
        parameters=(_stiffness("torsion", "kcal/mol", (-20.0, 20.0), 1.0),),
        constants=(
            Constant("torsion_periodicities", 1.0, integer=True),
            Constant("torsion_phases", 0.0, "degrees"),
        ),
    ),
    PairKind(
        name="vdw",
        parameters=(
            Parameter("vdw_radii", "radius", "Å", (0.5, 5.0), 0.2, "positive"),
            Parameter("vdw_epsilons", "epsilon", "kcal/mol", (0.001, 2.0), 0.05, "not negative"),
        ),
    ),
    Kind(
        name="urey_bradley",
        n_atoms=2,
        coordinates=(Coordinate("distance", (0, 1), equilibrium=1),),
        parameters=(
            _stiffness("urey_bradley", "kcal/mol/Å²", (0.0, 500.0), 30.0),
            _distances("urey_bradley", (1.0, 4.0)),
        ),
    ),
    Kind(
        name="harmonic_dihedral",
        n_atoms=4,
        coordinates=(Coordinate("dihedral", (0, 1, 2, 3), equilibrium=1),),
        parameters=(
            _stiffness("harmonic_dihedral", "kcal/mol/rad²", (0.0, 500.0), 10.0),
            Parameter("harmonic_dihedral_values", "phi0", "degrees", _ANY_DIHEDRAL, 5.0),
        ),
    ),
    Kind(
        name="improper",
        n_atoms=4,
        coordinates=(Coordinate("dihedral", (0, 1, 2, 3)),),
        parameters=(_stiffness("improper", "kcal/mol", (-20.0, 20.0), 1.0),),
        constants=(
            Constant("improper_periodicities", 2.0, integer=True),
            Constant("improper_phases", 180.0, "degrees"),
        ),
    ),
    Kind(
        name="harmonic_improper",
        n_atoms=4,
        coordinates=(Coordinate("dihedral", (0, 1, 2, 3), equilibrium=1),),
        parameters=(
            _stiffness("harmonic_improper", "kcal/mol/rad²", (0.0, 500.0), 10.0),
            Parameter("harmonic_improper_values", "phi0", "degrees", _ANY_DIHEDRAL, 5.0),
        ),
    ),
    Kind(  # two bonds i-j and j-k of an angle, at the bonds' own equilibria
        name="stretch_stretch",
        n_atoms=3,
        coordinates=(Coordinate("distance", (0, 1), equilibrium=1), Coordinate("distance", (1, 2), equilibrium=2)),
        parameters=(_stiffness("stretch_stretch", "kcal/mol/Å²", (-500.0, 500.0), 20.0),),
        reads=(Read("bond", "bond_lengths", (0, 1)), Read("bond", "bond_lengths", (1, 2))),
    ),
    Kind(  # both bonds of an angle i-j-k with one constant, as in MM3
        name="stretch_bend",
        n_atoms=3,
        coordinates=(
            Coordinate("distance", (0, 1), equilibrium=1),
            Coordinate("distance", (1, 2), equilibrium=2),
            Coordinate("angle", (0, 1, 2), equilibrium=3),
        ),
        parameters=(_stiffness("stretch_bend", "kcal/mol/Å/rad", (-500.0, 500.0), 20.0),),
        reads=(
            Read("bond", "bond_lengths", (0, 1)),
            Read("bond", "bond_lengths", (1, 2)),
            Read("angle", "angle_values", (0, 1, 2)),
        ),
    ),
    Kind(  # the bond i-j of an angle i-j-k: the other bond has a term of its own, with a constant of its own
        name="bond_bend",
        n_atoms=3,
        coordinates=(Coordinate("distance", (0, 1), equilibrium=1), Coordinate("angle", (0, 1, 2), equilibrium=2)),
        parameters=(_stiffness("bond_bend", "kcal/mol/Å/rad", (-500.0, 500.0), 20.0),),
        reads=(Read("bond", "bond_lengths", (0, 1)), Read("angle", "angle_values", (0, 1, 2))),
        equivalent=(0, 1, 2),
    ),
    Kind(  # angles i-j-k and k-j-l at the atom j, with the bond j-k in common
        name="bend_bend",
        n_atoms=4,
        coordinates=(Coordinate("angle", (0, 1, 2), equilibrium=1), Coordinate("angle", (2, 1, 3), equilibrium=2)),
        parameters=(_stiffness("bend_bend", "kcal/mol/rad²", (-300.0, 300.0), 10.0),),
        reads=(Read("angle", "angle_values", (0, 1, 2)), Read("angle", "angle_values", (2, 1, 3))),
        equivalent=(3, 1, 2, 0),
    ),
    PairKind(
        name="coulomb",
        parameters=(Parameter("coulomb_charges", "charge", "e", (-5.0, 5.0), 0.05),),
    ),
    Kind(  # pairs whose values are given, as they would be combined: in mm3 the radius is the whole distance of the minimum
        name="special_vdw",
        n_atoms=2,
        coordinates=(Coordinate("distance", (0, 1)),),
        parameters=(
            Parameter("special_vdw_radii", "radius", "Å", (0.5, 10.0), 0.2, "positive"),
            Parameter("special_vdw_epsilons", "epsilon", "kcal/mol", (0.0, 2.0), 0.05, "not negative"),
        ),
        instead_of="vdw",
    ),
)

SIGNED_BOUNDS = {"bond_force_constants": (-3600.0, 3600.0), "angle_force_constants": (-720.0, 720.0)}
"""q2mm's bounds, for `ForceField.with_bounds`: along a reaction coordinate, bonds and angles may be softer than nothing."""

KINDS: dict[str, Kind | PairKind] = {kind.name: kind for kind in _DECLARED}
"""All kinds by name, in the order of the parameter vector."""


def kind_named(name: str) -> Kind | PairKind:
    """The kind of that name.

    Raises:
        FormError: there is none.
    """
    if not isinstance(name, str) or name not in KINDS:
        raise FormError(f"there is no kind {name!r}; kinds are {', '.join(KINDS)}.")
    return KINDS[name]


def term_kinds() -> dict[str, Kind]:
    """The kinds of terms by name, in the order of the parameter vector."""
    return {name: kind for name, kind in KINDS.items() if isinstance(kind, Kind)}


def pair_kinds() -> dict[str, PairKind]:
    """The kinds of pairs by name, in the order of the parameter vector."""
    return {name: kind for name, kind in KINDS.items() if isinstance(kind, PairKind)}


def parameter_fields() -> dict[str, Parameter]:
    """The parameters of all kinds by the field of `ForceField` that holds them, in the order of the parameter vector."""
    return {parameter.field: parameter for kind in KINDS.values() for parameter in kind.parameters}


def constant_fields() -> dict[str, Constant]:
    """The constants of all kinds by the field of `ForceField` that holds them."""
    return {constant.field: constant for kind in term_kinds().values() for constant in kind.constants}


def add_kind(kind: Kind | PairKind) -> None:
    """Make a kind known, after all others in the order of the parameter vector.

    Raises:
        FormError: its name or one of its fields is taken, or its declaration contradicts itself.
    """
    if not _is_name(kind.name) or kind.name in KINDS:
        raise FormError(f"a kind cannot be named {kind.name!r}: it is taken or no identifier. Choose another name.")
    _check_fields(kind)
    if isinstance(kind, Kind):
        _check_reads(kind)
        _check_coordinates(kind)
    KINDS[kind.name] = kind


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("_")


def _check_fields(kind: Kind | PairKind) -> None:
    taken = {*parameter_fields(), *constant_fields()}
    for name in kind.all_fields:
        if not _is_name(name) or name in taken or kind.all_fields.count(name) > 1:
            raise FormError(f"the kind {kind.name!r}: the field {name!r} is taken or no identifier. Choose another name.")
    if not kind.parameters:
        raise FormError(f"the kind {kind.name!r} has no parameters; a kind needs at least one.")
    for parameter in kind.parameters:
        lower, upper = real_array(parameter.bounds, f"the kind {kind.name!r}: bounds", FormError, shape=(2,), finite=False)
        typical = float(real_array(parameter.typical, f"the kind {kind.name!r}: typical", FormError, shape=()))
        if not lower <= upper or not typical > 0.0 or parameter.sign not in get_args(Sign):
            raise FormError(
                f"the kind {kind.name!r}: {parameter.field} has the bounds {parameter.bounds}, the typical change "
                f"{parameter.typical} and the sign {parameter.sign!r}; give bounds (lower, upper), a change above 0 and one "
                f"of {', '.join(map(repr, get_args(Sign)))}."
            )


def _check_reads(kind: Kind) -> None:
    for read in kind.reads:
        other = KINDS.get(read.kind)
        known = isinstance(other, Kind) and read.field in other.fields and len(read.atoms) == other.n_atoms
        if not known or not set(read.atoms) <= set(range(kind.n_atoms)):
            raise FormError(
                f"the kind {kind.name!r} reads {read}, but there is no such parameter of a known kind of term. Name a field "
                f"of that kind, and those of the atoms 0 to {kind.n_atoms - 1} that are its."
            )


_WIDTHS = {"distance": 2, "angle": 3, "clipped_angle": 3, "dihedral": 4}


def _check_coordinates(kind: Kind) -> None:
    if not kind.coordinates:
        raise FormError(f"the kind {kind.name!r} has no coordinates; a kind needs at least one.")
    if kind.equivalent is not None and sorted(kind.equivalent) != list(range(kind.n_atoms)):
        raise FormError(
            f"the kind {kind.name!r}: its equivalent order is {kind.equivalent}; give the atoms 0 to {kind.n_atoms - 1}, "
            "each once."
        )
    units = [*(each.unit for each in kind.parameters), *(parameter_fields()[read.field].unit for read in kind.reads)]
    for coordinate in kind.coordinates:
        width = _WIDTHS.get(str(coordinate.measure))
        if width is None:
            raise FormError(
                f"the kind {kind.name!r}: a coordinate measures {coordinate.measure!r}; choose one of {', '.join(_WIDTHS)}."
            )
        if len(set(coordinate.atoms) & set(range(kind.n_atoms))) != width or len(coordinate.atoms) != width:
            raise FormError(
                f"the kind {kind.name!r}: its {coordinate.measure} is of the atoms {coordinate.atoms}, but needs {width} "
                f"different ones of 0 to {kind.n_atoms - 1}."
            )
        equilibrium = coordinate.equilibrium
        if equilibrium is not None and not 0 <= equilibrium < len(units):
            raise FormError(
                f"the kind {kind.name!r}: the equilibrium of its {coordinate.measure} is parameter {equilibrium}, but it "
                f"has {len(units)}, from 0."
            )
        if equilibrium is not None and (units[equilibrium] == "degrees") == (coordinate.measure == "distance"):
            raise FormError(
                f"the kind {kind.name!r}: the equilibrium of its {coordinate.measure} is parameter {equilibrium}, in "
                f"{units[equilibrium]!r}. Equilibria of angles and dihedrals are in 'degrees', those of distances are not."
            )

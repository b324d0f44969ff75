"""Labels of atoms by SMARTS, with RDKit."""

from collections.abc import Iterable, Mapping
from typing import Any

from q2mm_accel.errors import InteropError, MissingPackageError
from q2mm_accel.model.molecule import Molecule


def labels_by_smarts(molecule: Molecule, bonds: Iterable[tuple[int, ...]], patterns: Mapping[str, str]) -> tuple[str, ...]:
    """A label for each atom: that of the last pattern that matches it.

    Args:
        molecule: its elements and charge; RDKit finds bond orders and aromatic rings by them.
        bonds: pairs of atoms.
        patterns: SMARTS -> label of its first atom, or of its atom numbered 1, as in "[#6X3](=O)[#7:1]".

    Returns:
        (n_atoms,).

    Raises:
        MissingPackageError: RDKit is not installed.
        InteropError: no SMARTS, an atom that none matches, or bonds that RDKit finds no orders for.
    """
    try:
        from rdkit import Chem
        from rdkit.Chem import rdDetermineBonds
    except ImportError as error:
        raise MissingPackageError("types by SMARTS need RDKit; run: python -m pip install rdkit") from error
    queries = [(_query(Chem, smarts), label) for smarts, label in patterns.items()]
    chemical = _molecule(Chem, rdDetermineBonds, molecule, bonds)
    labels: dict[int, str] = {}
    for (query, atom), label in queries:
        for match in chemical.GetSubstructMatches(query, uniquify=False, maxMatches=10**6):
            labels[match[atom]] = label
    for number, symbol in enumerate(molecule.symbols):
        if number not in labels:
            raise InteropError(
                f"{molecule.name}: no SMARTS matches atom {number} ({symbol}). Add one that does, the most general ones "
                "first: later ones win."
            )
    return tuple(labels[number] for number in range(molecule.n_atoms))


def _query(chem: Any, smarts: str) -> tuple[Any, int]:
    """A pattern, and which of its atoms it labels."""
    query = chem.MolFromSmarts(smarts) if isinstance(smarts, str) else None
    if query is None:
        raise InteropError(f"types: {smarts!r:.60} is no SMARTS; RDKit's message above says where it fails.")
    numbered = [atom.GetIdx() for atom in query.GetAtoms() if atom.GetAtomMapNum() == 1]
    return query, numbered[0] if numbered else 0


def _molecule(chem: Any, perception: Any, molecule: Molecule, bonds: Iterable[tuple[int, ...]]) -> Any:
    editable = chem.RWMol()
    for symbol in molecule.symbols:
        atom = chem.Atom(symbol)
        atom.SetNoImplicit(True)
        editable.AddAtom(atom)
    for i, j in bonds:
        editable.AddBond(i, j, chem.BondType.SINGLE)
    try:
        perception.DetermineBondOrders(editable, charge=molecule.charge, embedChiral=False)
        chem.SanitizeMol(editable)
    except ValueError as error:
        raise InteropError(
            f"{molecule.name}: RDKit finds no bond orders for its bonds and the charge {molecule.charge}: {error}. Give the "
            "molecule its charge, or labels of atoms instead of SMARTS."
        ) from error
    return editable

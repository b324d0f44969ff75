"""Tripos .mol2 files, which name the types of atoms for programs that have them by two characters."""

from collections.abc import Sequence

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.system import System
from q2mm_accel.writers.names import atom_names, residue_names, title_of


def mol2_text(system: System, forcefield: ForceField, names: Sequence[str], charge_scale: float = 1.0) -> str:
    """The text of a .mol2 file of one molecule.

    Args:
        system: the molecule.
        forcefield: its charges.
        names: the type of each atom.
        charge_scale: what charges are multiplied with.
    """
    molecule, own = system.molecule, system.coulomb_types
    charges = forcefield.coulomb_charges[own] if len(own) else [0.0] * molecule.n_atoms
    counts = f"{molecule.n_atoms} {len(system.bond_atoms)} 1 0 0"
    lines = ["@<TRIPOS>MOLECULE", title_of(molecule), counts, "SMALL", "USER_CHARGES", "", "@<TRIPOS>ATOM"]
    rows = zip(atom_names(molecule), molecule.coordinates.tolist(), names, charges, strict=True)
    for number, (atom, point, name, charge) in enumerate(rows, 1):
        where = " ".join(f"{x:.10f}" for x in point)
        lines.append(f"{number} {atom} {where} {name} 1 {residue_names(1)[0]} {float(charge) * charge_scale:.12f}")
    lines.append("@<TRIPOS>BOND")
    lines += [f"{number} {i + 1} {j + 1} 1" for number, (i, j) in enumerate(system.bond_atoms.tolist(), 1)]
    return "\n".join([*lines, "@<TRIPOS>SUBSTRUCTURE", f"1 {residue_names(1)[0]} 1"]) + "\n"

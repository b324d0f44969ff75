"""Quantum-mechanical data: small molecules that ship with the package, and Rh-enamide, which is fetched."""

from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import MOLECULES, SMALL, load_molecule, provenance, published_frequencies

__all__ = ["MOLECULES", "SMALL", "load_molecule", "load_rh_enamide", "provenance", "published_frequencies"]

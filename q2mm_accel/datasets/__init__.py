"""Quantum-mechanical data: small molecules that ship with the package."""

from q2mm_accel.datasets.small import SMALL, load_molecule, provenance, published_frequencies

__all__ = ["SMALL", "load_molecule", "provenance", "published_frequencies"]

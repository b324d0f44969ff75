"""Whole optimizations as one traced JAX computation, from one start or many."""

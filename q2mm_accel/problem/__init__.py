"""From molecules, force field and references to the padded arrays that compiled programs take. NumPy only."""

"""What a user describes: molecules, force fields, terms and references, in physical units. NumPy only.

Every object is frozen and checked when it is made, so that what comes later need not check again. `perceive` and
`estimate_force_constants` make systems and a first force field from molecules alone.
"""

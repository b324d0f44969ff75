"""What is fitted: the vector x that an optimizer sees, and how the force field's parameters follow from it.

x holds the free parameters in units of a scale; frozen ones keep their values and tied ones follow from others, by one
affine map (`space`). `selection` finds parameters by name, `bounds` and `priors` say what is known of them.
"""

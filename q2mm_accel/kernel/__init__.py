"""Arrays in, arrays out: the compiled part, in pure JAX, and what prepares its arrays."""

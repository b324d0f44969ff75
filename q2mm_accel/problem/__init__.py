"""From molecules, force field and references to the padded arrays that compiled programs take. NumPy only.

`layout` decides which molecules are computed together, `internal` computes coordinates with their derivatives, `batch` and
`reads` fill the arrays that `arrays` describes, and `build` calls them in order. `checks` refuses what cannot be computed
before anything is built, and says afterwards which molecule and parameter made a loss not finite.
"""

"""Force fields as files of other programs, each chosen by its suffix.

Every file is exact: whoever reads it back gets the energy that was fitted, to the digits that the format has. What a
format cannot hold is refused, with the terms and the formats that can hold them (`holding`). Terms have types here, atoms do
not: for formats in which parameters belong to types of atoms, `atom_types` makes these from the terms.
"""

"""What a user describes: molecules, force fields, terms, references."""

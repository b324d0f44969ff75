"""What a fit achieved, for people to read."""

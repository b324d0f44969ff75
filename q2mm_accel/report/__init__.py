"""What a fit achieved, for people to read: how well each molecule is reproduced, and which parameters moved how far."""

"""Independent, naive versions of what the library computes; none imports the part it judges."""

"""A small client in the standard library."""

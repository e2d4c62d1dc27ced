"""A whole fleet in one process, on a virtual clock, with faults drawn from a seed (simulator/README.md)."""

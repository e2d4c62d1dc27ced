"""Measures every budget of the design on this machine, beside the floor measured in the same run."""

"""A fleet in the foreground: what `make run` does, and how a fleet is stopped."""

"""How many descriptors a process may have: one goes to each client, or sender."""

import resource


def raise_descriptor_limit() -> None:
    """As many as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

"""The message cache: keeps pushes with ttl for clients that are away, until they are acknowledged or expire."""

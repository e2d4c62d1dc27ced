"""The gateway: worker processes that hold the clients' connections."""

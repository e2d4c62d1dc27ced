"""What stands around the gateway: the sender library, the command line, the status service."""

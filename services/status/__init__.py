"""The status service: the fleet's health and figures over HTTP."""

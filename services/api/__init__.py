"""Routes of the process on api_port beside health and figures: logging in."""

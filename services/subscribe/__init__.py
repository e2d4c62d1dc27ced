"""The subscribe service: it makes tokens, says who may have which, and keeps the devices of users."""

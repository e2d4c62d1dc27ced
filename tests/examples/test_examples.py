"""The examples run against a real fleet."""

"""Presence: who is connected, where, since when; and the stream of who comes and goes."""

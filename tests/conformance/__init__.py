"""Autobahn's WebSocket cases against the worker's own parser and epoll shell."""

"""The login service: codes, sessions, and what CONNECT proves (docs/client-protocol.md, section Login)."""

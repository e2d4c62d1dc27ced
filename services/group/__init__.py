"""The group service: who is in which group, and messages from client to client (CONTACT)."""

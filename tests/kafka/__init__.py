"""A real Kafka broker for tests and chaos, and what writes to it and reads from it."""

"""Load test with locust. The only place of the repository that is monkey-patched, by locust itself."""

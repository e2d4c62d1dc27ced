"""Metrics of all processes of a host, as Prometheus reads them."""

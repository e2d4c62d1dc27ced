"""Breaks real fleets under load and holds them to the promises: `python -m chaos SCENARIO`. No part of the product."""

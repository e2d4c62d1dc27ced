"""The part in C; everything else is declared in pyproject.toml."""

from setuptools import Extension, setup

# Optional: without a C compiler, or Python's headers, gateway/sends.py does the same in Python.
setup(ext_modules=[Extension("gateway._sends", ["gateway/_sends.c"], optional=True)])

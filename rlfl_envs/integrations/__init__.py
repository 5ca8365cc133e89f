"""Bridges to other libraries: a module each, imported by name, and only where its library is installed."""

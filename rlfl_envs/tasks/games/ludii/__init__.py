"""Ludii: its language as the user's jar has it, and who judges."""

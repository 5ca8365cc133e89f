"""Ludax: its games and mutants of them, who judges, who draws."""

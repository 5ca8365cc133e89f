"""The tasks, one file each. Nothing imports them but the registry, by name."""

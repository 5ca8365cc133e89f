"""The run directory and what is kept of runs: files, state, checkpoints, metrics, log, pictures, results."""

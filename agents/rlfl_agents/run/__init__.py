"""What a run leaves: its state, checkpoints, exports, metrics, log, pictures and results."""

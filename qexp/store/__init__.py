"""A run's directory and its documents: the run on disk, the only source of truth."""

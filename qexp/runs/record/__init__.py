"""A run's directory and its documents: record, state of the code, lineage and annotations."""

"""A run's directory and what is written down in it: its record, code state, lineage and annotations."""

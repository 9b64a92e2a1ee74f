"""The catalog: an index of all runs, its columns and filters, and the names by which runs are found."""

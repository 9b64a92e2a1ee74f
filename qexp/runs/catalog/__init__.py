"""The catalog: an index of all runs, with columns, filters, and lookup of runs by name."""

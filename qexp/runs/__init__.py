"""Runs: their directories, which are the truth, and the catalog, which is an index of them."""

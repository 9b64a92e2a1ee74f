"""Runs: their directories, which are the truth, and all that prepares, executes, finds and keeps them."""

"""Runs: their directories, the only source of truth, and the code that prepares, executes, finds and stores them."""

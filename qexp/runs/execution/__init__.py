"""Executing a prepared run: from its directory to its results."""

"""Runs prepared, executed, found and used: commands on runs, whatever the kind of their dataset."""

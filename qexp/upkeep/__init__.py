"""Maintenance of runs: doctor, trash, archives, verification."""

"""Metrics, and their uncertainty: jackknife and Student's intervals."""

"""Metrics, and their uncertainty: bootstrap and Student's intervals."""

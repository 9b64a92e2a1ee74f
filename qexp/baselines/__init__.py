"""Baselines: simple estimators that a network must beat on exactly the same held-out rows."""

"""Evaluating trained networks on the test part: one module per kind of dataset."""

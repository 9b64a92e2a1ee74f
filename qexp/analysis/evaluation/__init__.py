"""Evaluation of finished runs on other data than their own test part: one module per kind of dataset."""

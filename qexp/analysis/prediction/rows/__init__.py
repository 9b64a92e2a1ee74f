"""Estimates for the rows of files."""

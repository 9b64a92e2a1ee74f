"""Runs with weights that another program trained."""

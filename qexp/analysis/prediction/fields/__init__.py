"""Estimates for fields."""

"""Posteriors of simulated observations by their known likelihood."""

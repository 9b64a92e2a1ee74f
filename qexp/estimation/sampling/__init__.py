"""Posteriors of sources by their known likelihood: modes, importance sampling, ensembles of walkers, and grids."""

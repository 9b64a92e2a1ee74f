"""Exact posteriors of the few variables of a simulated dataset, by integration over them."""

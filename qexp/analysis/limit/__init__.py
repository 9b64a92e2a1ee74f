"""The least errors that any method can reach on a simulated dataset."""

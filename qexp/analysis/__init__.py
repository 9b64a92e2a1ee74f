"""What finished runs are good for: predictions, matrices, comparisons."""

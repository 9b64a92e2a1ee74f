"""Estimates for images in files: reading them, the range of the training data, and the file of estimates."""

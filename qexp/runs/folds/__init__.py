"""Training of the networks of a cross-validation, fold by fold."""

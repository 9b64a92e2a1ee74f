"""Data leakage: the spectra that runs were trained on, and the check that a run's test data are not among them."""

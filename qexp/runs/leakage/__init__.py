"""Data leakage: which spectra runs were trained on, and whether a run would be tested on any of them."""

"""How far to trust a run on simulated data: matrices, limits, calibrations, and chosen images."""

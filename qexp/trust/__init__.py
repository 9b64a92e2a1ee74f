"""How far to trust a run on simulated data: matrices, limits, calibrations, and images at chosen
true values.
"""

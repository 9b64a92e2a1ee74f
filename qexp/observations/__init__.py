"""Real observations of deformation: what programs and observatories write, as one file that `qexp
invert` reads.
"""

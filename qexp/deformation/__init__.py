"""Sources of deformation estimated from real observations: files become an observation, an
observation a source.
"""

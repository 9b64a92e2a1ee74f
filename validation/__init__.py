"""Published formulas, finite elements and searches of another kind, to hold the physics and
inversions against.
"""

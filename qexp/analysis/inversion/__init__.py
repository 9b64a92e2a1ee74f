"""Sources estimated from an observation: by least squares, from a network's estimate or from many starts."""

"""Sources of real deformation: files become an observation, an observation a source."""

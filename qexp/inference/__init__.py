"""Sources of deformation from observations: least squares, profile likelihoods, and posteriors."""

"""Sources of deformation estimated by least squares: weights, nuisances, the minimum, and the errors of estimates."""

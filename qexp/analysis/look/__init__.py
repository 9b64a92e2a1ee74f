"""A look at data before anything is trained on them: samples, histograms, numbers."""

"""Synthetic data sets from known physics: folders for training where measured data are not available."""

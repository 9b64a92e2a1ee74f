"""Names of columns that files of estimates have besides the estimates."""

from __future__ import annotations

WORDS = b"words"
"""Metadata key of a column with the same text in every row; holds that text."""

CAUTION = "caution"
"""Column with the run's caution in every row, if it has one; a NetCDF file has it once, as an attribute."""

OUTSIDE = "outside"
"""Column with the number of features of a row, or of statistics of an image, outside the range of the training data."""

ESTIMATES_OUTSIDE = "estimates_outside"
"""Column with the number of a sample's estimates that lie beyond those values of the outputs that were trained on."""

"""Datasets of fields on a grid: folders of frames, read lazily, cut into patches."""

from qexp.datasets.gridded.dataset import EvaluatedFrames, GriddedDataset
from qexp.datasets.gridded.frames import Frames, alike
from qexp.datasets.gridded.patches import Patches

__all__ = ["EvaluatedFrames", "Frames", "GriddedDataset", "Patches", "alike"]

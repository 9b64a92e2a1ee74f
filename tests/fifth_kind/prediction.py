"""Estimates for images in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from qexp.base import files
from qexp.errors import QexpError
from qexp.kinds.prediction import OnProgress
from qexp.kinds.trained import load_model
from qexp.networks.estimator import Inversion
from qexp.runs.predict import Asked, FileKind
from qexp.store.directory import RunDirectory


@dataclass(frozen=True)
class ImagePrediction:
    target: Path
    made: bool
    remarks: list[str]
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        return [self.target]


def _targets(source: Path, target: Path, inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    return [(source, target)]


def _estimator(directory: RunDirectory, device: str, asked: Asked) -> partial[ImagePrediction]:
    return partial(_predict, model=load_model(directory, torch.device("cpu")))


def _predict(
    source: Path, target: Path, *, chunk: int | None, overwrite: bool, progress: OnProgress, model: Inversion
) -> ImagePrediction:
    images = sorted(source.glob("*.npy"))
    if not images:
        raise QexpError(f"{source} has no images")
    if target.exists() and not overwrite:
        return ImagePrediction(target, False, [])
    made = model.estimate({"image": torch.from_numpy(np.stack([np.load(path) for path in images])).float()[:, None]})
    rows = zip([path.name for path in images], *(values[:, 0].tolist() for values in made.values()), strict=True)
    files.write_csv(target, ["file", *made], rows)
    return ImagePrediction(target, True, [f"{len(images)} images"])


PREDICTION = FileKind("images", _targets, _estimator)

"""Datasets of images, and experiences on them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qexp.base.seeds import Seeds
from qexp.base.tables import Tables
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError
from qexp.kinds.kind import Kind, Samples
from qexp.networks.network import Network
from qexp.networks.training import DrawnData
from qexp.spec.reading import Finding


class ImageDataset:
    """Images, (sample, 1, y, x), and their labels, (sample, 1) each."""

    def __init__(self, path: Path, labels: Sequence[str], fingerprint: str | None) -> None:
        table = path / "labels.csv"
        if not table.is_file():
            raise DatasetError([(("path",), f"there is no {table}")])
        self.path, self.warnings = path, list[str]()
        content = table.read_bytes()
        lines = list(csv.DictReader(content.decode().splitlines()))
        missing = [index for index, name in enumerate(labels) if name not in lines[0]]
        if missing:
            raise DatasetError([(("labels", index), f"{table} has no column '{labels[index]}'") for index in missing])
        arrays = [np.load(path / line["file"]) for line in lines]
        self.fingerprint = hashlib.sha256(content + b"".join(array.tobytes() for array in arrays)).hexdigest()
        if fingerprint not in (None, self.fingerprint):
            raise DatasetError([(("fingerprint",), f"{path} has other images than before")])
        self.parts = np.array([line["part"] for line in lines])
        values = {name: [[float(line[name])] for line in lines] for name in labels}
        self.values = {name: torch.tensor(column) for name, column in values.items()}
        self.values["image"] = torch.from_numpy(np.stack(arrays)).float()[:, None]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(values.shape[1:]) for name, values in self.values.items()}

    def samples(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: values[rows] for name, values in self.values.items()}


class ImageKind(Kind[ImageDataset]):
    opened = 0
    """How many datasets were opened."""

    def dataset(self, document: dict[str, Any], tables: Tables, workspace: Workspace | None) -> ImageDataset:
        self.opened += 1
        path = Path(document["found"]) if workspace is None else workspace.root / "data" / document["path"]
        return ImageDataset(path, document["labels"], document.get("fingerprint"))

    def pinned(self, document: dict[str, Any], dataset: ImageDataset, workspace: Workspace) -> dict[str, Any]:
        return {**document, "fingerprint": dataset.fingerprint, "found": str(dataset.path.absolute())}

    def findings(
        self,
        document: dict[str, Any],
        dataset: ImageDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Iterator[Finding]:
        train = self._divided(document, dataset, Seeds(0))[0]
        if len(train) < document["batch_size"]:
            yield ("batch_size",), f"there are {len(train)} training images; use a smaller batch"

    def data(
        self, spec: dict[str, Any], dataset: ImageDataset, tables: Tables, seeds: Seeds, device: torch.device
    ) -> DrawnData:
        train, validation = self._divided(spec, dataset, seeds)
        test = np.flatnonzero(dataset.parts == "test")
        return DrawnData(
            train=lambda epoch: dataset.samples(seeds.numpy("train", epoch, "order").permutation(train)),
            validation=dataset.samples(validation),
            test=dataset.samples(test),
            train_size=len(train),
        )

    def parts(
        self, dataset: ImageDataset, spec: dict[str, Any] | None, tables: Tables, seed: int
    ) -> dict[str, np.ndarray]:
        test = {"test": np.flatnonzero(dataset.parts == "test")}
        if spec is None:
            return {"train": np.flatnonzero(dataset.parts != "test"), **test}
        train, validation = self._divided(spec, dataset, Seeds(seed))
        return {"train": train, "validation": validation, **test}

    def samples(self, document: dict[str, Any], dataset: ImageDataset) -> Samples:
        return Samples(int((dataset.parts != "test").sum()))

    def _divided(self, spec: dict[str, Any], dataset: ImageDataset, seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
        rows = seeds.numpy("split").permutation(np.flatnonzero(dataset.parts != "test"))
        count = round(spec["split"][0] * len(rows))
        return rows[:count], rows[count:]

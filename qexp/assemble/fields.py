"""Experiences on gridded fields: what is filled in from the dataset, and checks that need the fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from qexp.assemble.datasets import field_mapping
from qexp.assemble.transforms import built_transforms
from qexp.datasets.gridded import GriddedDataset, Patches
from qexp.datasets.gridded.folders import FieldError
from qexp.datasets.gridded.patches import Numbers
from qexp.datasets.splits import Column, Rows, Split, SplitError
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError
from qexp.metrics.metric import Metric
from qexp.models.network import Network, refusal
from qexp.seeds import Seeds
from qexp.spec import resolve, validate
from qexp.tables import Tables, built
from qexp.workspace import Workspace

Document = dict[str, Any]
Finding = validate.Finding

PATCHES_LOOKED_AT = 64
"""By which it is seen whether transforms fit the fields."""


def completed(document: Document, workspace: Workspace) -> Document:
    """An experience whose inputs and outputs are listed, and divided by their typical values where no transform is.

    Raises DatasetError.
    """
    if document["dataset"]["type"] != "gridded":
        return document
    mapping = field_mapping(document["dataset"], workspace)
    scales = {**mapping.inputs, **mapping.outputs}
    own = {
        name: {"type": "scale", "parameters": {"typical": scales[name]}}
        for name in [*document["inputs"], *document["outputs"]]
        if name in scales
    }
    dataset = {**document["dataset"], "mapping": None, "inputs": mapping.inputs, "outputs": mapping.outputs}
    return {**document, "dataset": dataset, "transforms": {**own, **document.get("transforms", {})}}


def divided(split: Document, dataset: GriddedDataset, tables: Tables, seeds: Seeds) -> tuple[Numbers, Numbers]:
    """Training and validation frames, as rows of the dataset. Raises SplitError and FieldError."""
    advice = "one is kept for validation; use 'random_groups', 'time_block', 'held_out' or 'random'"
    return one_fold(built(tables["splits"], split), dataset.rows, dataset.column, seeds.numpy("split"), advice)


def one_fold(split: Split, rows: Rows, column: Column, random: np.random.Generator, advice: str) -> tuple[Rows, Rows]:
    """What a split leaves and what it holds out, where that is to be done once. Raises SplitError.

    advice  what is said of a split that makes several parts
    """
    folds = split.folds(rows, column, random)
    if len(folds) != 1:
        raise SplitError(None, f"makes {len(folds)} parts, but {advice}")
    return folds[0].train, folds[0].test


def findings(document: Document, dataset: GriddedDataset, tables: Tables, network: Network | None) -> Iterator[Finding]:
    """All that is wrong with an experience on these fields.

    network  what is trained, where inputs and outputs fit it
    """
    yield from _in_split(document, dataset, tables)
    yield from of_sums_only(document, document["outputs"], "frames", tables)
    try:
        yield from _in_transforms(document, dataset.test_patches(), dataset, tables)
    except DatasetError as error:
        for where, message in error.findings:
            yield ("dataset", *where), f"in the test part: {message}"
    if network is not None:
        yield from _in_frames(dataset, network)


def _in_split(document: Document, dataset: GriddedDataset, tables: Tables) -> Iterator[Finding]:
    try:
        train, validation = divided(resolve.long_form(document["split"], tables["splits"]), dataset, tables, Seeds(0))
        for part, rows in (("training", train), ("validation", validation)):
            try:
                dataset.patches(rows)
            except DatasetError as error:
                for _, message in error.findings:
                    yield ("split",), f"in the {part} part: {message}"
    except SplitError as error:
        yield (("split", "parameters", error.parameter) if error.parameter else ("split",)), str(error)
    except FieldError as error:
        yield ("split", "parameters", "by"), str(error)


def of_sums_only(document: Document, outputs: Sequence[str], judged: str, tables: Tables) -> Iterator[Finding]:
    """What is wrong with metrics of outputs that are judged piece by piece: they must be a matter of sums.

    judged  what the pieces are called
    """
    of_sums = [
        name
        for name, entry in tables["metrics"].items()
        if isinstance(metric := entry.build(), Metric) and metric.additive is not None
    ]
    for output, names in document.get("metrics", {}).items():
        if output not in outputs:
            continue
        for name in names if isinstance(names, list) else [names]:
            if name not in of_sums:
                yield (
                    ("metrics", output),
                    f"'{name}' needs all values at once, but {judged} are judged one by one; "
                    f"{suggestion(name, of_sums)}",
                )


def _in_transforms(document: Document, patches: Patches, dataset: GriddedDataset, tables: Tables) -> Iterator[Finding]:
    places = patches.draw(PATCHES_LOOKED_AT, np.random.default_rng(0), turned=False)
    fields = torch.from_numpy(patches.cut(places, len(dataset.variables), []))
    transforms, found = built_transforms(document, tables)
    yield from found
    for name, transform in transforms.items():
        if name not in dataset.variables:
            continue
        try:
            seen = fields[..., dataset.variables.index(name)].unsqueeze(1)
            transform.fit(seen)
            finite = torch.isfinite(transform(seen))
        except ValueError as error:
            yield ("transforms", name, "parameters"), str(error)
            continue
        if not finite.all():
            yield (
                ("transforms", name),
                f"{seen[~finite][0]:g} becomes no finite number; use another transform for '{name}'",
            )


def _in_frames(dataset: GriddedDataset, network: Network) -> Iterator[Finding]:
    """Whether what is trained on patches can be judged on whole frames."""
    for height, width in sorted({frames.size for frames in dataset.parts["test"]}):
        if trouble := refusal(network, height, width):
            yield ("model",), f"in the test part: {trouble}"

"""Datasets of fields on a grid, and experiences on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built, long_form
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError, some, suggestion
from qexp.kinds import files
from qexp.kinds.fields import folders
from qexp.kinds.fields.dataset import GriddedDataset, Numbers, Patches, PatchSamples, covering
from qexp.kinds.fields.folders import FieldMapping
from qexp.kinds.fields.frames import cell_sizes
from qexp.kinds.kind import Doubts, KindData, one_fold, split_finding
from qexp.kinds.memory import BYTES_OF_NUMBER, Samples
from qexp.kinds.networks import build_transforms, of_sums_only, of_training_mean, try_transform
from qexp.metrics.splits import SplitError
from qexp.networks.network import Network, refusal
from qexp.networks.shapes import numbers_in
from qexp.spec.reading import Document, Finding, Findings

PATCHES_LOOKED_AT = 64
"""Number of patches on which transforms are tried."""

BYTES_OF_POSITION = 40
"""Bytes of a patch's position: five numbers."""


class GriddedData(KindData[GriddedDataset]):
    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> GriddedDataset:
        mapping = field_mapping(document, workspace)
        return GriddedDataset(self.folder(document, workspace), {**document, **vars(mapping)})

    def folder(self, document: Document, workspace: Workspace | None) -> Path:
        return files.data_folder(document, workspace)

    def roles(
        self, document: Document, workspace: Workspace | None
    ) -> tuple[list[str], list[str]] | None:
        mapping = field_mapping(document, workspace)
        return [*mapping.inputs], [*mapping.outputs]

    def unread(self, document: Document, workspace: Workspace) -> list[Finding]:
        mapping = document["dataset"]["mapping"]
        inputs = field_mapping(document["dataset"], workspace).inputs if mapping is not None else ()
        if not (unread := [f"'{name}'" for name in inputs if name not in document["inputs"]]):
            return []
        message = (
            f"the mapping '{mapping}' has inputs that the network does not read:"
            f" {', '.join(unread)}; list them in the experience and the model, or let both follow"
            ' the dataset: "inputs": "from dataset"'
        )
        return [(("mapping",), message)]

    def completed(self, document: Document, tables: Tables, workspace: Workspace) -> Document:
        """Inputs and outputs are listed, and divided by their typical values where no transform
        is.
        """
        mapping = field_mapping(document["dataset"], workspace)
        scales = {**mapping.inputs, **mapping.outputs}
        transforms = {
            name: long_form(
                {"type": "scale", "parameters": {"typical": scales[name]}}, tables["transforms"]
            )
            for name in [*document["inputs"], *document["outputs"]]
            if name in scales
        }
        dataset = {**document["dataset"], "mapping": None, **vars(mapping)}
        return {
            **document,
            "dataset": dataset,
            "transforms": {**transforms, **document["transforms"]},
        }

    def pinned(self, document: Document, dataset: GriddedDataset, workspace: Workspace) -> Document:
        spacings = list(map(list, cell_sizes(dataset.training_folders)))
        recorded = {"units": dataset.units, "spacing": spacings}
        return {
            **document,
            **recorded,
            "fingerprint": dataset.fingerprint,
            "found": str(dataset.path.absolute()),
        }

    def findings(
        self,
        document: Document,
        dataset: GriddedDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Findings:
        yield from _in_split(document, dataset, tables)
        yield from of_sums_only(document, document["outputs"], "frames", tables)
        drawn = "patches of fields are drawn again in every epoch"
        yield from of_training_mean(document, document["outputs"], drawn, tables)
        try:
            yield from _in_transforms(document, dataset.test_patches(), dataset, tables)
        except DatasetError as error:
            for where, message in error.findings:
                yield ("dataset", *where), f"in the test part: {message}"
        if network is not None:  # trained on patches, it is evaluated on whole frames
            for height, width in sorted({frames.size for frames in dataset.parts["test"]}):
                if trouble := refusal(network, height, width):
                    yield ("model",), f"in the test part: {trouble}"

    def data(
        self,
        spec: Document,
        dataset: GriddedDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> PatchSamples:
        train, validation = divided(spec["split"], dataset, tables, seeds)
        return PatchSamples(dataset, train, validation, _counts(spec), seeds, device)

    def sizes(
        self, spec: Document, dataset: GriddedDataset, tables: Tables, seed: int
    ) -> tuple[int, int]:
        if (counts := _counts(spec)) is not None:
            return counts
        train, validation = divided(spec["split"], dataset, tables, Seeds(seed))
        return covering(dataset.patches(train), dataset.patches(validation))

    def parts(
        self, dataset: GriddedDataset, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Patches]:
        """The patches of the train and test folders; those for training are divided by an
        experience.
        """
        if spec is None:
            return {"train": dataset.patches(dataset.rows), "test": dataset.test_patches()}
        train, validation = divided(spec["split"], dataset, tables, Seeds(seed))
        patches = {"train": dataset.patches(train), "validation": dataset.patches(validation)}
        return {**patches, "test": dataset.test_patches()}

    def doubts(self, spec: Document, dataset: GriddedDataset, tables: Tables, seed: int) -> Doubts:
        """Test folders with the fields of training folders, whatever their names."""
        if dataset.include_test_in_train:  # which its warnings and cautions say
            return Doubts()
        trained = set[str]().union(*dataset.hashes_of(dataset.training_folders).values())
        tested = dataset.hashes_of(dataset.test.folders)
        if not (same := [name for name, hashes in tested.items() if hashes & trained]):
            return Doubts()
        caution = f"{len(same)} of {len(tested)} test folders have the fields of training folders"
        return Doubts(caution, (f"{caution}: {some(same, 3)}; take them out of one of the two",))

    def samples(self, document: Document, dataset: GriddedDataset) -> Samples:
        if (counts := _counts(document)) is None:
            return Samples(dataset.patches(dataset.rows).tiles)
        of_patch = BYTES_OF_NUMBER * numbers_in(dataset.shapes())
        train, validation = counts
        return Samples(train, train * BYTES_OF_POSITION + validation * of_patch, "patches")


def _counts(spec: Document) -> tuple[int, int] | None:
    """The numbers of patches for training, in an epoch, and for validation; None for as many as
    cover the frames.
    """
    return None if spec["patches"] is None else (int(spec["patches"][0]), int(spec["patches"][1]))


def field_mapping(document: Document, workspace: Workspace | None) -> FieldMapping:
    """Inputs and outputs of a gridded dataset with their typical values, which divide them. Raises
    DatasetError.
    """
    name: str | None = document["mapping"]
    if name is not None:
        if name in folders.PRESETS:
            return folders.preset(name)
        candidates = files.data_candidates(name, files.data_folders(workspace))
        folder = next(filter(Path.is_dir, candidates), None)
        try:
            if folder is None:
                raise QexpError(
                    f"no mapping and no folder '{name}'; {suggestion(name, folders.PRESETS)}"
                )
            return folders.read_mapping(folder)
        except QexpError as error:
            raise DatasetError([(("mapping",), str(error))]) from error
    mapping = FieldMapping({}, {})
    troubles = []
    for key, scales in (("inputs", mapping.inputs), ("outputs", mapping.outputs)):
        for variable, value in document[key].items():
            scale = folders.NATURAL_SCALES.get(variable) if value is None else float(value)
            if scale is None:
                message = (
                    f"2Dto2D-DLE has no typical value for '{variable}'; give one, in its own unit"
                )
                troubles.append(((key, variable), message))
            else:
                scales[variable] = scale
    files.refuse(troubles)
    return mapping


def divided(
    split: Document, dataset: GriddedDataset, tables: Tables, seeds: Seeds
) -> tuple[Numbers, Numbers]:
    """Training and validation frames, as rows of the dataset. Raises SplitError."""
    advice = (
        "only one can be kept for validation; use 'random_groups', 'time_block', 'held_out' or"
        " 'random'"
    )
    return one_fold(
        built(tables["splits"], split), dataset.rows, dataset.column, seeds.numpy("split"), advice
    )


def _in_split(document: Document, dataset: GriddedDataset, tables: Tables) -> Findings:
    try:
        train, validation = divided(document["split"], dataset, tables, Seeds(0))
    except SplitError as error:
        yield split_finding("split", error)
        return
    for part, rows in (("training", train), ("validation", validation)):
        try:
            dataset.patches(rows)
        except DatasetError as error:
            for _, message in error.findings:
                yield ("split",), f"in the {part} part: {message}"


def _in_transforms(
    document: Document, patches: Patches, dataset: GriddedDataset, tables: Tables
) -> Findings:
    positions = patches.draw(PATCHES_LOOKED_AT, np.random.default_rng(0), turned=False)
    fields = torch.from_numpy(patches.cut(positions, len(dataset.variables), []))
    transforms, _ = build_transforms(document, tables)
    for name, transform in transforms.items():
        if name in dataset.variables:
            values = fields[..., dataset.variables.index(name)].unsqueeze(1)
            yield from try_transform(name, transform, values, values)


DATA = GriddedData()

"""Datasets of spectra of cores, and experiences on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import some, suggestion
from qexp.kinds import files, leaks
from qexp.kinds.classes import lacking
from qexp.kinds.kind import KindData, one_fold, split_finding
from qexp.kinds.leaks import Exposed
from qexp.kinds.memory import Samples
from qexp.kinds.networks import (
    build_transforms,
    in_batches,
    network_of,
    of_sums_only,
    of_training_mean,
    try_transform,
)
from qexp.kinds.spectra.dataset import MASK, MOST_TO_FIT, SpectraDataset, SpectrumSamples
from qexp.kinds.spectra.sources import PARTS, VALIDATION
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.metrics.splits import Rows, SplitError
from qexp.networks.masked_autoencoder import Encoder, hidden_channels, visible_count
from qexp.networks.network import Network
from qexp.networks.transforms import Transform
from qexp.spec.reading import Document, Finding

LOOKED_AT = 256
"""Number of spectra on which transforms are tried."""


class SpectraData(KindData[SpectraDataset]):
    all_samples: ClassVar = {"labelled": "all"}

    def dataset(
        self, document: Document, tables: Tables, workspace: Workspace | None
    ) -> SpectraDataset:
        return SpectraDataset(self.folder(document, workspace), document)

    def folder(self, document: Document, workspace: Workspace | None) -> Path:
        return files.data_folder(document, workspace, Path.exists, "folder or table")

    def pinned(self, document: Document, dataset: SpectraDataset, workspace: Workspace) -> Document:
        found = str(dataset.path.absolute())
        return {
            **document,
            "units": dataset.units,
            "fingerprint": dataset.fingerprint,
            "found": found,
        }

    def findings(
        self,
        document: Document,
        dataset: SpectraDataset,
        tables: Tables,
        network: Network | None,
        available: int,
    ) -> Iterator[Finding]:
        yield from _in_parts(document, dataset, tables, network)
        yield from _in_transforms(document, dataset, tables)
        yield from of_sums_only(document, [SPECTRUM], "filled-in spectra", tables)
        yield from of_training_mean(
            document, [SPECTRUM], "each channel of a spectrum has its own", tables
        )
        if network is not None:
            yield from _in_masks(document, dataset, network)

    def data(
        self,
        spec: Document,
        dataset: SpectraDataset,
        tables: Tables,
        seeds: Seeds,
        device: torch.device,
    ) -> SpectrumSamples:
        network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
        train, validation, test = divided(spec, dataset, tables, seeds)
        used = labelled(spec, train, seeds)
        others = np.setdiff1d(train, used)
        return SpectrumSamples(
            dataset, used, validation, test, others, seeds, device, hidden_of(network)
        )

    def parts(
        self, dataset: SpectraDataset, spec: Document | None, tables: Tables, seed: int
    ) -> Mapping[str, Rows]:
        """The spectra of each part, as the files list them or as an experience divides them."""
        parts: dict[str, Rows] = {part: np.flatnonzero(dataset.part == part) for part in PARTS}
        if spec is not None:
            parts = dict(zip(PARTS, divided(spec, dataset, tables, Seeds(seed)), strict=True))
        return {part: rows for part, rows in parts.items() if len(rows)}

    def samples(self, document: Document, dataset: SpectraDataset) -> Samples:
        return Samples(len(dataset))

    def sizes(
        self, spec: Document, dataset: SpectraDataset, tables: Tables, seed: int
    ) -> tuple[int, int]:
        train, validation, _ = divided(spec, dataset, tables, Seeds(seed))
        return len(labelled(spec, train, Seeds(seed))), len(validation)

    def exposed(
        self, spec: Document, dataset: SpectraDataset, tables: Tables, seed: int
    ) -> Exposed:
        train, validation, test = divided(spec, dataset, tables, Seeds(seed))
        return Exposed(dataset, np.union1d(train, validation), test)

    def training_size(
        self, spec: Document, dataset: SpectraDataset, tables: Tables, seed: int
    ) -> int:
        return len(divided(spec, dataset, tables, Seeds(seed))[0])

    def without_effect(self, spec: Document) -> Collection[str]:
        return () if MASK in spec["inputs"] else ("mask_ratio",)


def divided(
    document: Document, dataset: SpectraDataset, tables: Tables, seeds: Seeds
) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test spectra of an experience, as rows of the dataset. Raises
    SplitError.

    `split` says which are for the test; `inner`, or the dataset's own validation part, which of the
    others are for validation.
    """
    train, test = _one_fold(
        document["split"], dataset.rows, dataset, tables, seeds.numpy("split"), "tested"
    )
    if named := document["dataset"].get("train_cores"):
        for core in {*named} - {*dataset.cores}:
            raise SplitError(
                None,
                (
                    f"no spectrum has the core '{core}' of \"train_cores\";"
                    f" {suggestion(core, {*dataset.cores})}"
                ),
            )
        train = train[np.isin(dataset.cores[train], named)]
    if (inner := document["inner"]) is not None:
        train, validation = _one_fold(
            inner, train, dataset, tables, seeds.numpy("inner"), "kept for validation"
        )
        return train, validation, test
    is_validation = dataset.part[train] == VALIDATION
    return train[~is_validation], train[is_validation], test


def labelled(document: Document, train: Rows, seeds: Seeds) -> Rows:
    """The training spectra whose targets are used: the first ones in a random order drawn by the
    seed.
    """
    count = document["labelled"]
    if count == "all":
        return train
    return np.sort(seeds.numpy("labelled").permutation(train)[:count])


def _one_fold(
    split: Document,
    rows: Rows,
    dataset: SpectraDataset,
    tables: Tables,
    random: np.random.Generator,
    what: str,
) -> tuple[Rows, Rows]:
    return one_fold(
        built(tables["splits"], split),
        rows,
        dataset.column,
        random,
        f"only one can be {what}; use 'parts', 'held_out', 'random_groups' or 'random'",
    )


def hidden_of(network: Network) -> Callable[[Tensor], Tensor] | None:
    """Random numbers of masks, (sample, patch) → whether a channel is hidden from the network's
    encoder, (sample, channel); None if none are.
    """
    if (encoder := _masked_encoder(network)) is None:
        return None
    return partial(hidden_channels, mask_ratio=encoder.mask_ratio, patch_size=encoder.patch_size)


def _masked_encoder(network: Network) -> Encoder | None:
    """The encoder from which patches are hidden; None if there is none."""
    for branch in network.branches:
        encoder = network.operations[branch.operations[0]] if branch.operations else None
        if isinstance(encoder, Encoder) and MASK in branch.sources:
            return encoder
    return None


def _in_parts(
    document: Document, dataset: SpectraDataset, tables: Tables, network: Network | None
) -> Iterator[Finding]:
    for key, as_it_is_divided in (("split", {**document, "inner": None}), ("inner", document)):
        try:
            train, validation, test = divided(as_it_is_divided, dataset, tables, Seeds(0))
        except SplitError as error:
            yield split_finding(key, error)
            return
    if not len(validation):
        whole_cores = (
            '{"type": "random_groups", "parameters": {"by": "core", "share": 0.2}} for whole cores'
        )
        advice = f'set it, for example {whole_cores} or "random" for spectra of any core'
        yield ("inner",), f"no spectrum is left for validation; {advice}"
    if not len(train):
        yield ("split",), "no spectrum is left to train on"
    count = document["labelled"]
    if count != "all" and count > len(train):
        yield ("labelled",), f'{count} of {len(train)} training spectra; at most all of them: "all"'
    chosen = labelled(document, train, Seeds(0))
    used = len(chosen)
    for name in dataset.classes.keys() & document["outputs"]:
        if lack := lacking(dataset.classes[name], dataset.measured[name], {"this split": chosen}):
            key = "split" if used == len(train) else "labelled"
            yield (key,), f"{lack}; leave it out, or train on other cores"
    if network is not None:
        yield from in_batches(document, network, {used})
    if used == 1 and document["baselines"]:
        yield (
            ("labelled",),
            (
                "baselines choose their parameters on part of the labelled spectra, but there is"
                " only one; use at least 2"
            ),
        )
    if not document["allow_leak"]:
        yield from leaks.overlaps_within(dataset, train, validation, test)


def _in_transforms(
    document: Document, dataset: SpectraDataset, tables: Tables
) -> Iterator[Finding]:
    transforms, _ = build_transforms(document, tables)
    trained_on = _trained_on(document, dataset, tables)
    for name, transform in transforms.items():
        if transform.needs_own and name != SPECTRUM:
            yield (
                ("transforms", name),
                f"what it does to one '{name}' cannot be inverted; use 'standardize'",
            )
            continue
        if transform.needs_own and (flat := dataset.without_spread):
            yield (
                ("transforms", name),
                (
                    f"the counts of {some(dataset.names[flat].tolist())} are all the same: their"
                    " standard deviation is 0; leave them out"
                ),
            )
        elif name == SPECTRUM:
            yield from _try_on_spectra(transform, trained_on, dataset)
        elif name in dataset.measured:
            used = labelled(document, trained_on, Seeds(0))
            if len(used) == 1 and type(transform).fit is not Transform.fit:
                yield (
                    ("transforms", name),
                    "it is fitted to the labelled spectra, but there is only one; use at least 2",
                )
            else:
                targets = torch.from_numpy(dataset.measured[name].astype(np.float32))[:, None]
                yield from try_transform(name, transform, targets[used], targets)


def _in_masks(document: Document, dataset: SpectraDataset, network: Network) -> Iterator[Finding]:
    if SPECTRUM in network.outputs:
        encoder = _masked_encoder(network)
        if encoder is None:
            yield (
                ("inputs",),
                (
                    "nothing is hidden: no encoder of the model has the input 'mask' in addition"
                    " to the spectrum"
                ),
            )
        elif visible_count(dataset.patches, encoder.mask_ratio) == dataset.patches:
            yield (
                ("outputs", document["outputs"].index(SPECTRUM)),
                (
                    f"nothing is hidden: a mask_ratio of {encoder.mask_ratio:g} hides none of"
                    f" {dataset.patches} patches; {1 / dataset.patches:.2g} would hide one"
                ),
            )
    if MASK in document["inputs"] and not any(
        MASK in branch.sources for branch in network.branches
    ):
        yield (
            ("inputs", document["inputs"].index(MASK)),
            "no branch of the model begins with 'mask'; leave it out",
        )


def _trained_on(document: Document, dataset: SpectraDataset, tables: Tables) -> Rows:
    """Training spectra, labelled or not; all spectra if they cannot be divided, which another check
    reports.
    """
    try:
        train, _, _ = divided(document, dataset, tables, Seeds(0))
    except SplitError:
        return dataset.rows
    return train if len(train) else dataset.rows


def _try_on_spectra(
    transform: Transform, trained_on: Rows, dataset: SpectraDataset
) -> Iterator[Finding]:
    """Problems of transforms on a few spectra, then on many: some have counts in channels where the
    few have none.
    """
    for count in (LOOKED_AT, MOST_TO_FIT):
        to_fit, values = (
            torch.from_numpy(
                dataset.read(rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))])
            )
            for rows in (trained_on, dataset.rows)
        )
        if not (findings := list(try_transform(SPECTRUM, transform, to_fit, values, "channel"))):
            return
    yield from findings


DATA = SpectraData()

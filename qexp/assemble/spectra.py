"""Experiences on spectra: how their cores are divided, and checks that need the spectra."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp.assemble import leaks
from qexp.assemble.fields import of_sums_only
from qexp.assemble.transforms import built_transforms
from qexp.datasets.spectra import MASK, SPECTRUM, SpectraDataset, SpectrumSamples
from qexp.datasets.splits import Rows, Split, SplitError
from qexp.datasets.transforms import Transform
from qexp.models.modules.spectra import Encoder, hidden_channels
from qexp.models.network import Network
from qexp.seeds import Seeds
from qexp.spec import resolve, validate
from qexp.tables import Tables, built

Document = dict[str, Any]
Finding = validate.Finding

VALIDATION = "validation"

Hidden = Callable[[Tensor], Tensor]
"""Random numbers of masks, (sample, patch) → truth values, (sample, channel)."""

LOOKED_AT = 256
"""Spectra by which it is seen whether transforms fit."""

NAMED = 5
"""So many spectra of one kind are named, and the rest is counted."""


def divided(document: Document, dataset: SpectraDataset, tables: Tables, seeds: Seeds) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test spectra of an experience, as rows of the dataset. Raises SplitError.

    Which are tested is the split's matter; which of the others are for validation, that of `inner`, or of the
    dataset's own validation part.
    """
    train, test = _one_fold(document["split"], dataset.rows, dataset, tables, seeds.numpy("split"), "tested")
    if (inner := document.get("inner")) is not None:
        train, validation = _one_fold(inner, train, dataset, tables, seeds.numpy("inner"), "kept for validation")
        return train, validation, test
    listed = dataset.part[train] == VALIDATION
    return train[~listed], train[listed], test


def labelled(document: Document, train: Rows, seeds: Seeds) -> Rows:
    """Those of the training spectra whose targets are used: the first ones of an order that the seed draws."""
    count = document.get("labelled", "all")
    if count == "all":
        return train
    return np.sort(seeds.numpy("labelled").permutation(train)[:count])


def _one_fold(
    split: Any, rows: Rows, dataset: SpectraDataset, tables: Tables, random: np.random.Generator, what: str
) -> tuple[Rows, Rows]:
    made: Split = built(tables["splits"], resolve.long_form(split, tables["splits"]))
    folds = made.folds(rows, dataset.column, random)
    if len(folds) != 1:
        raise SplitError(
            None, f"makes {len(folds)} parts, but one is {what}; use 'parts', 'held_out', 'random_groups' or 'random'"
        )
    return folds[0].train, folds[0].test


def samples_of(
    spec: Document, dataset: SpectraDataset, hidden: Hidden | None, tables: Tables, seeds: Seeds, device: torch.device
) -> SpectrumSamples:
    """The spectra of a resolved experience, as training takes them."""
    train, validation, test = divided(spec, dataset, tables, seeds)
    used = labelled(spec, train, seeds)
    return SpectrumSamples(dataset, used, validation, test, np.setdiff1d(train, used), seeds, device, hidden)


def hidden_of(network: Network) -> Hidden | None:
    """Random numbers of masks, (sample, patch) → which channels the network's encoder does not see, if it hides any."""
    for branch in network.branches:
        encoder = network.operations[branch.operations[0]] if branch.operations else None
        if isinstance(encoder, Encoder) and MASK in branch.sources:
            return partial(hidden_channels, mask_ratio=encoder.mask_ratio, patch_size=encoder.patch_size)
    return None


def findings(document: Document, dataset: SpectraDataset, tables: Tables, network: Network | None) -> Iterator[Finding]:
    """All that is wrong with an experience on these spectra.

    network  what is trained, where inputs and outputs fit it
    """
    yield from _in_parts(document, dataset, tables)
    yield from _in_transforms(document, dataset, tables)
    yield from of_sums_only(document, [SPECTRUM], "filled-in spectra", tables)
    if network is not None and SPECTRUM in network.outputs and hidden_of(network) is None:
        yield ("inputs",), "nothing is hidden: no encoder of the model has the input 'mask' beside the spectrum"


def _in_parts(document: Document, dataset: SpectraDataset, tables: Tables) -> Iterator[Finding]:
    for key in ("split", "inner"):
        if document.get(key) is None:
            continue
        try:
            divided({**document, **({"inner": None} if key == "split" else {})}, dataset, tables, Seeds(0))
        except SplitError as error:
            yield ((key, "parameters", error.parameter) if error.parameter else (key,)), str(error)
            return
    train, validation, test = divided(document, dataset, tables, Seeds(0))
    if not len(validation):
        yield (
            ("inner",),
            "no spectrum is left for validation; say which, for example "
            '{"type": "random_groups", "parameters": {"by": "core", "share": 0.2}}',
        )
    if not len(train):
        yield ("split",), "no spectrum is left to train on"
    count = document.get("labelled", "all")
    if count != "all" and count > len(train):
        yield ("labelled",), f'{count} of {len(train)} training spectra; at most all of them: "all"'
    if not document.get("allow_leak"):
        yield from leaks.within(dataset, train, validation, test)


def _in_transforms(document: Document, dataset: SpectraDataset, tables: Tables) -> Iterator[Finding]:
    transforms, found = built_transforms(document, tables)
    yield from found
    for name, transform in transforms.items():
        if transform.needs_own and name != SPECTRUM:
            yield ("transforms", name), f"what it does to one '{name}' cannot be taken back; use 'standardize'"
            continue
        if transform.needs_own and (flat := dataset.without_spread()):
            names = ", ".join(dataset.names[flat[:NAMED]])
            more = f" and {len(flat) - NAMED} more" if len(flat) > NAMED else ""
            yield (
                ("transforms", name),
                f"the counts of {names}{more} are all the same, and have no deviation to divide by; leave them out",
            )
        elif (values := _values(name, dataset)) is not None:
            yield from _tried(name, transform, values)


def _values(name: str, dataset: SpectraDataset) -> Tensor | None:
    """Some values of a variable, (row, value), spread over the dataset."""
    if name == SPECTRUM:
        rows = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT).astype(np.int64))
        return torch.from_numpy(dataset.read(rows))
    if name == MASK or dataset.targets is None:
        return None
    return torch.from_numpy(dataset.targets.astype(np.float32))[:, None]


def _tried(name: str, transform: Transform, values: Tensor) -> Iterator[Finding]:
    try:
        transform.fit(values)
        finite = torch.isfinite(transform(values))
    except ValueError as error:
        yield ("transforms", name), str(error)
        return
    if not finite.all():
        yield (
            ("transforms", name),
            f"{values[~finite][0]:g} becomes no finite number; use another transform for '{name}'",
        )

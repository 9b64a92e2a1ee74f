"""Export of a finished run's network to a folder, for programs without qexp (and, with ONNX, without torch)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qexp import files
from qexp.analysis.export import document
from qexp.analysis.export.document import DLE_INPUTS, DLE_OUTPUTS, Document, graph_outputs
from qexp.analysis.export.formats import FORMATS
from qexp.analysis.export.graphs import GraphError, Named, takes_any_frame
from qexp.analysis.trained import load_models
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.networks.estimator import Inversion
from qexp.networks.heads import FlowHead
from qexp.networks.portable import EnsembleLoop, MeanAndSpread, Positional, StackedEnsemble, WithinLimits, portable
from qexp.runs.record.directory import RunDirectory
from qexp.runs.whole_folders import names_in, write_folder

ABOUT, README = "network.json", "README.md"

OURS = frozenset({ABOUT, README, DLE_INPUTS, DLE_OUTPUTS, *(kind.file for kind in FORMATS.values())})
"""All possible files of an exported folder."""

OF_FILES = {".zip", ".zst", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".json", ".onnx", ".pt", ".pth", ".pt2"}
"""Suffixes of archives, which are not accepted for folders."""


@dataclass(frozen=True)
class Exported:
    folder: Path
    files: dict[str, int]
    """Name → bytes."""
    about: Document
    """The content of `network.json`."""


def export_network(
    directory: RunDirectory, target: Path, format: str = "onnx", *, physical: bool = False, overwrite: bool = False
) -> Exported:
    """Write a run's network, its inputs and outputs, and a README to a folder, which appears complete or not at all.

    physical   put the transforms inside the graph, so that inputs and outputs have units; otherwise the graph is the
               bare network, and values are transformed outside. The networks of several folds become one graph with
               their mean and standard deviation; their transforms differ, and must be inside.
    overwrite  replace a folder that was written by an earlier export
    Raises QexpError for a run that is not done, an unknown format, an existing folder, or a network with operations
    that the format cannot hold.
    """
    if format not in FORMATS:
        raise QexpError(f"--format {format}: no such format; {suggestion(format, FORMATS)}")
    _require_room(target, overwrite)
    models = load_models(directory, torch.device("cpu"))
    if len(models) > 1 and not physical:
        raise QexpError(
            f"{directory.name} has {len(models)} networks, one or more per fold, whose transforms were fitted to "
            "different rows; add --physical, which includes the transforms in the graph"
        )
    if drawing := [name for name, one in models[0].network.operations.items() if isinstance(one, FlowHead)]:
        raise QexpError(
            f"{directory.name}: the medians of '{drawing[0]}', a flow_posterior, need draws, which no exported network "
            "makes; train one with a gaussian_posterior or a mixture_posterior"
        )
    about, graph = _graph(directory, models, format, physical)
    scales = document.dle_fields(models[0], physical)
    contents = {
        FORMATS[format].file: graph,
        ABOUT: files.json_bytes(about),
        README: document.readme(about, divided=bool(scales)).encode(),
        **{name: text.encode() for name, text in scales.items()},
    }
    write_folder(target, contents)
    return Exported(target, {name: len(content) for name, content in contents.items()}, about)


def _graph(directory: RunDirectory, models: Sequence[Inversion], format: str, physical: bool) -> tuple[Document, bytes]:
    """The content of `network.json`, and of the graph's file."""
    shapes = list(models[0].network.inputs.values())
    origin = document.origin_of(directory, models, format, physical)
    facts: dict[str, str] = {key: str(origin[key]) for key in ("run", "digest", "caution") if key in origin}
    troubles = []
    for module in _modules(directory, models, physical):
        for free_frame in [True, False] if takes_any_frame(module, shapes) else [False]:
            try:
                graph = FORMATS[format].capture(module, shapes, free_frame)
                about = origin | document.ports(directory, models, graph)
                inputs, outputs = (
                    [Named(port["name"], tuple(port["shape"]), document.words(port, physical)) for port in about[key]]
                    for key in ("inputs", "outputs")
                )
                return about, FORMATS[format].write(graph, inputs, outputs, facts)
            except GraphError as error:
                troubles.append(str(error))
    raise QexpError(f"{directory.name}: its network cannot be written as {format}: {troubles[-1]}")


def _modules(directory: RunDirectory, models: Sequence[Inversion], physical: bool) -> Iterator[nn.Module]:
    """Candidate modules for the graph, those with the shortest graph first."""
    network = models[0].network
    groups = _by_layout(directory, models)
    for model in models:
        portable(model)
    if len(models) == 1:
        yield Positional(WithinLimits(models[0]) if physical else network, network.inputs, network.outputs)
    else:
        outputs = [made.name for made in graph_outputs(models)]
        yield Positional(
            MeanAndSpread([StackedEnsemble(group) for group in groups], models[0]), network.inputs, outputs
        )
        yield Positional(MeanAndSpread([EnsembleLoop(models)], models[0]), network.inputs, outputs)


def _by_layout(directory: RunDirectory, models: Sequence[Inversion]) -> list[list[Inversion]]:
    """The networks of a run's folds, grouped by their chosen hyper-parameters."""
    groups: dict[str, list[Inversion]] = {}
    rest = iter(models)
    for fold in directory.all_folds():
        of_fold = fold.record().fold
        for _ in (of_fold.networks if of_fold else None) or ():
            groups.setdefault(json.dumps(of_fold.chosen if of_fold else None, sort_keys=True), []).append(next(rest))
    return list(groups.values())


# The folder


def _require_room(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() in OF_FILES:
        raise QexpError(
            f"--to {target}: a network is written to a folder, whose name does not end in {target.suffix}; an archive "
            "of the run ends in .tar.zst, .tar.gz or .tar"
        )
    names = names_in(target)
    if names and not overwrite:
        raise QexpError(f"--to {target}: the folder is not empty; choose another, or --overwrite an earlier export")
    if names and (ABOUT not in names or names - OURS):
        other = min(names - OURS, default="no " + ABOUT)
        raise QexpError(f"--to {target}: --overwrite replaces nothing but earlier exports, and this has {other}")

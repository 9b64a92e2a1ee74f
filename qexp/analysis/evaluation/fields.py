"""Evaluation on fields of other folders: errors on whole frames, and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp import assemble
from qexp.analysis.evaluation.asked import ALL, TEST, TRAIN, Asked, Independence, Judged
from qexp.assemble import places
from qexp.datasets.array_cache import content_hash
from qexp.datasets.gridded import EvaluatedFrames, Frames, alike
from qexp.datasets.gridded.folders import NETCDF, FieldError, FieldFolder, field_folders, open_folder
from qexp.datasets.gridded.frames import THICKNESS, cached_frames
from qexp.datasets.gridded.mappings import KNOWN_VECTORS
from qexp.errors import DatasetError, NotFoundError, QexpError, some
from qexp.metrics.intervals import intervals_over_pieces
from qexp.metrics.metric import Metrics
from qexp.networks.estimator import Inversion
from qexp.networks.network import refusal
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import fields as frames_of
from qexp.runs.evaluation.results import Results

SHOWN = 3
"""Names of folders in a message."""

Place = tuple[Path, str | None]
"""A folder of fields, and the name of the NetCDF file in it; None for the usual one."""


def judged(asked: Asked) -> Judged:
    """The fields of a dataset; of one folder or NetCDF file; or of all folders below a folder."""
    document = dict(asked.document or asked.spec["dataset"])
    found, part, usual = _folders(asked, document)
    _require_different_names(found)
    sources = [_with_truth(asked, place, document) for place in found]
    threshold = document.get("threshold")
    frames = [_frames(asked, place, document) for place in found]
    fields = EvaluatedFrames(frames, _vectors(document), threshold)
    if threshold is not None and (lacking := [one.name for one in frames if THICKNESS not in one.variables]):
        raise QexpError(
            f"{some(lacking, SHOWN)} of {asked.name} has no thickness '{THICKNESS}' to compare with 'threshold'"
        )
    _require_sizes(asked, frames)
    prints = {source.name: _fingerprint(source) for source in sources}
    content = hashlib.sha256("\n".join(f"{name} {prints[name]}" for name in sorted(prints)).encode()).hexdigest()
    document = {**document, "fingerprint": content, "include_test_in_train": False}
    if asked.source is not None:
        document |= {"path": str(asked.source), "found": str(asked.source.absolute())}

    def evaluate(attempt: Attempt, models: Sequence[Inversion], metrics: Mapping[str, Metrics]) -> Results | None:
        return _evaluated(attempt, fields, models[0], metrics)

    return Judged(
        document, part, usual, sum(len(one) for one in frames), lambda of: _independence(of, sources), evaluate,
        warnings=_other_cells(asked, frames),
    )  # fmt: skip


def _folders(asked: Asked, document: Mapping[str, Any]) -> tuple[list[Place], str, str]:
    """The folders of the part that is asked for, the part, and the usual part of such data."""
    file = document.get("file")
    if asked.document is not None:
        root = places.data_folder(asked.document, asked.workspace)
    else:
        root = asked.source or Path()
        if not root.exists():
            raise NotFoundError(f"{root}: there is no such file or folder")
        if not (root / TRAIN).is_dir() and not (root / TEST).is_dir():
            part = asked.chosen_part(ALL, (ALL,), f"{root} is not divided into {TRAIN}/ and {TEST}/")
            return _below(root, file), part, ALL
    usual = TEST if (root / TEST).is_dir() else ALL
    part = asked.chosen_part(usual, (TRAIN, TEST, ALL), "validation frames are not in folders of their own")
    parts = [name for name in (TRAIN, TEST) if part == name or (part == ALL and (root / name).is_dir())]
    return [(folder, file) for name in parts for folder in field_folders(root / name)], part, usual


def _below(root: Path, file: str | None) -> list[Place]:
    """The folder itself if it holds fields, else those below it."""
    if not root.is_dir():
        return [(root.parent, root.name)]
    names = (file or NETCDF, NETCDF)
    if name := next((name for name in names if (root / name).is_file()), None):
        return [(root, name)]
    if any(root.glob("*.npy")):
        return [(root, None)]
    return [(folder, file if file is None or (folder / file).is_file() else None) for folder in field_folders(root)]


def _require_different_names(found: Sequence[Place]) -> None:
    names = [folder.name for folder, _ in found]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise QexpError(
            f"several folders are called {some(twice, SHOWN)}; errors are listed by folder: evaluate one part at a time"
        )


def _with_truth(asked: Asked, place: Place, document: Mapping[str, Any]) -> FieldFolder:
    """The files of a folder. Raises QexpError for one without the run's outputs."""
    source = open_folder(*place)
    if lacking := [name for name in asked.outputs if name not in source.variables]:
        raise asked.without_truth(lacking)
    return source


def _frames(asked: Asked, place: Place, document: Mapping[str, Any]) -> Frames:
    names = list(dict.fromkeys([*asked.spec["inputs"], *asked.outputs]))
    return cached_frames(place[0], names, place[1], document.get("resample", 1), document.get("stepping", 1))


def _vectors(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    vectors = document.get("vectors")
    return list(KNOWN_VECTORS) if vectors is None else [(x, y) for x, y in vectors]


def _require_sizes(asked: Asked, frames: Sequence[Frames]) -> None:
    """Raise QexpError for frames that the network cannot take."""
    spec = asked.spec
    network = assemble.network_of(spec["model"], spec["inputs"], spec["outputs"], asked.tables)
    for one in frames:
        if reason := refusal(network, *one.size):
            raise QexpError(f"{one.folder}: {reason}")


def _other_cells(asked: Asked, frames: Sequence[Frames]) -> list[str]:
    """A warning if cells have another size than those that the network was trained on."""
    known = asked.spec["dataset"].get("spacing", [])
    others = [one for one in frames if one.spacing is not None and not any(alike(one.spacing, size) for size in known)]
    if not known or not others:
        return []
    trained = ", ".join(f"{y:g} x {x:g} m" for y, x in known)
    (y, x) = others[0].spacing or (0.0, 0.0)
    return [
        f"{some([one.name for one in others], SHOWN)}: the cells are {y:g} x {x:g} m, but the network was trained on "
        f"{trained}, and does not adapt to the cell size"
    ]


def _evaluated(
    attempt: Attempt, fields: EvaluatedFrames, model: Inversion, metrics: Mapping[str, Metrics]
) -> Results | None:
    """Errors with intervals over folders, since frames of one folder resemble each other."""
    tallies = frames_of.tallied(attempt, fields, model, metrics)
    if tallies is None:
        return None
    found = frames_of.results_of(attempt, fields, model, tallies)
    by_folder = [tally.whole.outputs for tally in tallies.values()]
    intervals = {output: intervals_over_pieces([of[output] for of in by_folder]) for output in metrics}
    return replace(found, intervals={attempt.directory.part: intervals})


def _fingerprint(source: FieldFolder) -> str:
    """Hash of the files' content, whatever their folder is called."""
    return "/".join(f"{path.name}:{content_hash(path)}" for path in sorted(source.files))


def _independence(asked: Asked, sources: Sequence[FieldFolder]) -> Independence:
    """Whether no folder has the files of one that the run was trained on, or its name."""
    try:
        trained = asked.trained
        tested = list(trained.hashes_of(trained.test.folders).values())
        known = trained.hashes_of(trained.training_folders)
    except (DatasetError, FieldError) as error:
        return Independence(None, (f"the fields that the run was trained on cannot be read: {error}",))
    hashes = {source.name: trained.hashes(source) for source in sources}
    everything = set().union(*known.values())
    same = [name for name, own in hashes.items() if own & everything]
    # Folders of the dataset's own test part may be numbered like those of its training part.
    elsewhere = [name for name, own in hashes.items() if own not in tested]
    alike_named = [name for name in elsewhere if name in known and name not in same]
    shared = [f"folders with training fields: {some(same, SHOWN)}"] if same else []
    doubts = [f"folders with the names of training folders, but other fields: {some(alike_named, SHOWN)}"]
    compared = "the fields, or the name," if elsewhere else "the fields"
    return Independence.of(shared, doubts if alike_named else [], f"no folder has {compared} of a training folder")

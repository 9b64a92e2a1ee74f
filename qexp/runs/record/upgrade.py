"""Bringing runs that older versions of qexp wrote up to the form of today: a function for each version.

All that reads a record or a spec of a run reads it through here, and needs to know the form of today only. Files are
not changed; a record is written in its new form when a process works on the run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, NotFoundError
from qexp.runs.record.parts import MisfitError
from qexp.runs.record.record import SCHEMA_VERSION, Record

Document = dict[str, Any]


def read_record(file: Path) -> Record:
    """The record in a file. Raises NotFoundError, and DamagedError where it is not what a run writes."""
    try:
        document = files.read_json(file)
    except FileNotFoundError:
        raise NotFoundError(f"{file.parent} holds no run: there is no run.json") from None
    try:
        return Record.from_document(record(document) if isinstance(document, dict) else document)
    except MisfitError as misfit:
        version = document.get("schema") if isinstance(document, dict) else None
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        hint = f"; a newer version of qexp has written it (schema {version})" if newer else ""
        raise DamagedError(f"{file} is damaged: {misfit}{hint}") from None


def record(document: Document) -> Document:
    """The document of a record, as this version writes it. One of a newer version stays as it is."""
    version = document.get("schema", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MisfitError("is not the version of a record", "schema")
    for step in _RECORD_STEPS[version - 1 :]:
        document = step(document)
    return document


def spec(document: Document) -> Document:
    """The resolved experience of a run, as this version writes it.

    Specs hold no version, since their digests must not depend on it: each step sees by the keys whether it is needed.
    """
    for step in _SPEC_STEPS:
        document = step(document)
    return document


def _record_of_1(document: Document) -> Document:
    """Records of version 1 knew the run that they started from by its name alone, at first."""
    lineage, parents = document.get("lineage"), document.get("parents")
    if not lineage and isinstance(parents, list):
        document = {**document, "lineage": [{"name": name} for name in parents]}
    return {**document, "schema": 2}


def _spec_of_1(document: Document) -> Document:
    """Specs of version 1 lacked keys that came later; `pretrain` was the name of the other run, at first."""
    document = {"keep": "best", **document}
    if "members" not in document:  # which only experiences on rows have
        document = {"layer_decay": 1.0, **document}
    if isinstance(document.get("pretrain"), str):
        every = {"run": document["pretrain"], "operations": None, "freeze": [], "epochs_frozen": None}
        document = {**document, "pretrain": every}
    dataset = document.get("dataset")
    if "labelled" in document and isinstance(dataset, dict):  # which only experiences on spectra have
        document = {**document, "dataset": {"mix": 0.0, **dataset}}
    return document


_RECORD_STEPS: list[Callable[[Document], Document]] = [_record_of_1]
"""From version 1 to 2, and so on."""

_SPEC_STEPS: list[Callable[[Document], Document]] = [_spec_of_1]

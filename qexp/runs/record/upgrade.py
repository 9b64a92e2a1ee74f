"""Upgrades of records and specs that older versions of qexp wrote to the current form: one function per version.

Every reader of a record or spec of a run goes through here and knows the current form only. Files are not changed; a
record is written in its new form when a process works on the run.
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
    """The record in a file. Raises NotFoundError, or DamagedError if it does not have the form of a record."""
    try:
        document = files.read_json(file)
    except FileNotFoundError:
        raise NotFoundError(f"{file.parent} is not a run: there is no run.json") from None
    try:
        return Record.from_document(record(document) if isinstance(document, dict) else document)
    except MisfitError as misfit:
        version = document.get("schema") if isinstance(document, dict) else None
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        hint = f"; a newer version of qexp has written it (schema {version})" if newer else ""
        raise DamagedError(f"{file} is damaged: {misfit}{hint}") from None


def record(document: Document) -> Document:
    """A record's document in the form of this version. A document of a newer version is returned unchanged."""
    version = document.get("schema", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MisfitError("is not the version of a record", "schema")
    for step in _RECORD_STEPS[version - 1 :]:
        document = step(document)
    return document


def spec(document: Document) -> Document:
    """The resolved experience of a run in the form of this version.

    Specs hold no version, because their digests must not depend on it: each step checks the keys to see if it applies.
    """
    for step in _SPEC_STEPS:
        document = step(document)
    return document


def _record_of_1(document: Document) -> Document:
    """Early records of version 1 identify the pretraining run by its name alone."""
    lineage, parents = document.get("lineage"), document.get("parents")
    if not lineage and isinstance(parents, list):
        document = {**document, "lineage": [{"name": name} for name in parents]}
    return {**document, "schema": 2}


def _spec_of_1(document: Document) -> Document:
    """Early specs of version 1 lack keys that came later, and `pretrain` is just the name of the other run."""
    document = {"keep": "best", **document}
    if "members" not in document:  # only experiences on rows have it
        document = {"layer_decay": 1.0, **document}
    if isinstance(document.get("pretrain"), str):
        every = {"run": document["pretrain"], "operations": None, "freeze": [], "epochs_frozen": None}
        document = {**document, "pretrain": every}
    dataset = document.get("dataset")
    if "labelled" in document and isinstance(dataset, dict):  # only experiences on spectra have it
        document = {**document, "dataset": {"mix": 0.0, **dataset}}
    return document


_RECORD_STEPS: list[Callable[[Document], Document]] = [_record_of_1]
"""The upgrade from version 1 to 2, from 2 to 3, and so on."""

_SPEC_STEPS: list[Callable[[Document], Document]] = [_spec_of_1]

"""Hashes of the spectra that a run and its ancestors were trained on: `seen.json`, valid without the ancestors.

Run → core → hashes of the spectra in its training and validation parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from qexp.base import files
from qexp.errors import DamagedError
from qexp.spec.kinds import documents_of
from qexp.store.directory import RunDirectory
from qexp.store.provenance import fingerprint
from qexp.store.record import Record

FILE = "seen.json"

Seen = Mapping[str, list[str]]
"""Core → hashes of its spectra."""


def read(directory: RunDirectory) -> dict[str, Seen]:
    """Run → spectra that a run and its ancestors were trained on; empty if they were not trained on spectra, or if
    another program trained them, so that it is not known on which.

    Raises DamagedError if the file was changed after the run was prepared.
    """
    record = directory.record()
    if trouble := trouble_with(directory, record):
        raise DamagedError(f"{directory.path / FILE} {trouble}; restore it from a copy")
    if record.seen is None:
        if record.foreign_weights is None and documents_of(directory.training_spec()["dataset"]).keeps_hashes:
            raise DamagedError(
                f"{directory.record_file} does not say on which spectra the run was trained; restore it from a copy"
            )
        return {}
    seen: dict[str, Seen] = files.read_json(directory.path / FILE)
    return seen


def trouble_with(directory: RunDirectory, record: Record) -> str | None:
    """What is wrong with the file, else None; None as well if the record says that there is no such file."""
    if record.seen is None:
        return None
    try:
        found = fingerprint(directory.path / FILE)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == record.seen else "was changed after the run was prepared"


def joined(name: str, own: Seen | None, before: Mapping[str, Seen]) -> dict[str, Seen]:
    """The spectra of a run with those of its ancestors, one of which can have had the same name."""
    if own is None:
        return dict(before)
    earlier = before.get(name, {})
    both = {core: sorted({*own.get(core, []), *earlier.get(core, [])}) for core in sorted({*own, *earlier})}
    return {name: both, **{run: seen for run, seen in before.items() if run != name}}


def content(seen: Mapping[str, Seen]) -> bytes:
    """The file's bytes, without indentation, since there can be tens of thousands of spectra."""
    return orjson.dumps(seen, option=orjson.OPT_APPEND_NEWLINE)

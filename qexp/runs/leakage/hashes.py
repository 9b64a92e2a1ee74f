"""Which spectra a run saw, and all that it started from: `seen.json` in its directory, so that it holds without them.

Run → core → hashes of the spectra in its training and validation parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from qexp import files
from qexp.errors import DamagedError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.provenance import fingerprint
from qexp.runs.record.record import Record
from qexp.spec.kinds import kind_of

FILE = "seen.json"

Seen = Mapping[str, list[str]]
"""Core → hashes of its spectra."""


def read(directory: RunDirectory) -> dict[str, Seen]:
    """What a run and its ancestors saw; empty where none of them was trained on spectra.

    Raises DamagedError if that is not what was written down when the run was prepared.
    """
    record = directory.record()
    if trouble := trouble_with(directory, record):
        raise DamagedError(f"{directory.path / FILE} {trouble}; take it from a copy")
    if record.seen is None:
        if kind_of(directory.spec()["dataset"]).keeps_hashes:
            raise DamagedError(f"{directory.record_file} does not tell what spectra the run saw; take it from a copy")
        return {}
    seen: dict[str, Seen] = files.read_json(directory.path / FILE)
    return seen


def trouble_with(directory: RunDirectory, record: Record) -> str | None:
    """What is wrong with the file, if anything: a run that says nothing of it has none."""
    if record.seen is None:
        return None
    try:
        found = fingerprint(directory.path / FILE)
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == record.seen else "was changed after the run was prepared"


def joined(name: str, own: Seen | None, before: Mapping[str, Seen]) -> dict[str, Seen]:
    """What a run saw with what its ancestors did. One of these can have had the same name."""
    if own is None:
        return dict(before)
    earlier = before.get(name, {})
    both = {core: sorted({*own.get(core, []), *earlier.get(core, [])}) for core in sorted({*own, *earlier})}
    return {name: both, **{run: seen for run, seen in before.items() if run != name}}


def content(seen: Mapping[str, Seen]) -> bytes:
    """The file: without indents, since a run can have seen tens of thousands."""
    return orjson.dumps(seen, option=orjson.OPT_APPEND_NEWLINE)

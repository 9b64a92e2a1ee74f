"""Whether a run that says it is done has all its results, and its inputs are those that it had."""

from __future__ import annotations

from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.spec.digest import digest


def valid(directory: RunDirectory) -> bool:
    """Whether the results of a run that says it is done are there. Raises DamagedError if its spec is gone."""
    trained = directory.all_folds() or [directory]
    return all(one.best_weights.is_file() for one in trained) and directory.judgement().is_file()


def as_prepared(directory: RunDirectory, record: Record) -> bool | None:
    """Whether spec and extensions are those with which the run was prepared, of which its record has the digest.

    None where that is not known: the digest of a run that starts from another depends on that one's, which old records
    do not name, and a fold has the digest of its run. Raises DamagedError if the spec cannot be read.
    """
    parent = record.lineage[0] if record.lineage else None
    if not record.digest or (parent is not None and parent.digest is None):
        return None
    extensions = directory.extensions.read_bytes().decode(errors="replace") if directory.extensions.is_file() else ""
    texts = [extensions, parent.digest if parent else None]
    return digest(directory.spec_as_written(), *[text for text in texts if text]) == record.digest

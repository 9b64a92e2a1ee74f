"""Checks that a finished run has all of its results, and that its spec and extensions are unchanged."""

from __future__ import annotations

from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.spec.digest import digest


def valid(directory: RunDirectory) -> bool:
    """Whether all results of a finished run exist; imported weights have none. Raises DamagedError without a spec."""
    evaluated = directory.evaluation_file().is_file() or directory.record().foreign_weights is not None
    return evaluated and all(one.is_file() for one in directory.weight_files())


def as_prepared(directory: RunDirectory, record: Record) -> bool | None:
    """Whether spec and extensions still have the digest in the run's record, which was taken when it was prepared.

    None if it cannot be checked: the digest of a pretrained run depends on the digest of the run that it started from,
    which old records lack; a fold has the digest of its run. Raises DamagedError if the spec cannot be read.
    """
    parent = record.lineage[0] if record.lineage else None
    if not record.digest or (parent is not None and parent.digest is None):
        return None
    extensions = directory.extensions.read_bytes().decode(errors="replace") if directory.extensions.is_file() else ""
    foreign = record.foreign_weights
    texts = [extensions, parent.digest if parent else None, foreign.weights.sha256 if foreign else None]
    return digest(directory.spec_as_written(), *[text for text in texts if text]) == record.digest

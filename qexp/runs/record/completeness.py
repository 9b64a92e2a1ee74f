"""Whether a run that says it is done has all its results."""

from __future__ import annotations

from qexp.runs.record.directory import RunDirectory


def valid(directory: RunDirectory) -> bool:
    """Whether the results of a run that says it is done are there. Raises DamagedError if its spec is gone."""
    trained = directory.all_folds() or [directory]
    return all(one.best_weights.is_file() for one in trained) and directory.judgement().is_file()

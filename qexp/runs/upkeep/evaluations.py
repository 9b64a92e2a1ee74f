"""Problems of a run's evaluations on other data."""

from __future__ import annotations

from collections.abc import Iterator

from qexp.errors import DamagedError
from qexp.runs.record import evaluations
from qexp.runs.record.directory import RunDirectory
from qexp.runs.upkeep.finding import Finding


def of_evaluations(directory: RunDirectory) -> Iterator[Finding]:
    for name in evaluations.names(directory):
        found = evaluations.find(directory, name)
        advice = f"make it again with --force, or delete {found.path}"
        try:
            found.evaluation()
            file = found.evaluation_file()
        except DamagedError as error:
            yield Finding(found.path, str(error), advice, damaged=True)
            continue
        if not file.is_file():
            yield Finding(file, "is missing, although it is part of an evaluation", advice, damaged=True)

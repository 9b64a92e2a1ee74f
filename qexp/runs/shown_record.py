"""The record of a run together with what its other files say of it: its state, matrices, limit, calibrations."""

from __future__ import annotations

from typing import Any

from qexp.runs.actions.acting import states_of
from qexp.runs.record import evaluations
from qexp.runs.record.calibration import calibrations_of
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import intervals_of
from qexp.runs.record.limit import limit_of
from qexp.runs.state.waiting import Watch


def shown_record(directory: RunDirectory) -> dict[str, Any]:
    """The document that `qexp show RUN --json` prints, with the present state."""
    record = directory.record().document()
    limit, intervals, calibrations = limit_of(directory), intervals_of(directory), calibrations_of(directory)
    return {
        **record,
        "state": Watch().state(directory).value,
        "path": str(directory.path),
        "matrices": directory.matrix_names(),
        "actions": states_of(directory),
        "evaluations": {one.name: one.document() for one in evaluations.of_run(directory)},
        "limit": None if limit is None else limit.document(),
        "held_out_intervals": None if intervals is None else intervals.document(),
        "calibration": next((one.document() for one in calibrations.values()), None),
        "calibrations": {kind: one.document() for kind, one in calibrations.items()},
    }

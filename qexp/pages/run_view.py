"""A run at a glance, for notebooks and terminals: what its page shows, without what takes a mouse."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from qexp.analysis.comparison.calibration_tables import calibrated
from qexp.analysis.comparison.typesetting import Table
from qexp.fragments.lines import lines
from qexp.fragments.svg import Drawn
from qexp.fragments.view import View
from qexp.pages.calibration import drawings
from qexp.pages.curves import curves, lines_of
from qexp.pages.lineage import lineage
from qexp.pages.run_page import IN_HEAD, baselines_drawn, cautions_of, results_of
from qexp.runs.facts import facts
from qexp.runs.record.calibration import calibrations_of
from qexp.runs.record.evaluations import of_run
from qexp.runs.state.waiting import Watch
from qexp.spec.experiences import type_of

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory


def run_view(directory: RunDirectory) -> View:
    """Results, baselines and curves; the spec, the origin and the command are unfolded. Raises DamagedError."""
    record, state = directory.record(), Watch().state(directory)
    warnings: list[str] = []
    known = [(key, text) for key, text in facts(directory, record, str(state), warnings.append) if key not in IN_HEAD]
    drawn = [Drawn(panel["title"], lines(panel)) for panel in curves(lines_of(directory), record.units)]
    asked = type_of(directory.spec()).lines(directory.spec())
    return View(
        record.name,
        state.words,
        [*cautions_of(record, list(of_run(directory))), *warnings],
        record.error or "",
        [
            *([record.note] if record.note else []),
            *results_of(directory, record),
            *baselines_drawn(record),
            *calibrated(calibrations_of(directory).values()),
        ],
        {
            **({"how sure its posteriors may be": sure} if (sure := drawings(directory)) else {}),
            **({"how training went": drawn} if drawn else {}),
            "what was asked": [Table("", ["", ""], [[key, text] for key, text in asked.items()])],
            "where it came from": [Drawn("", lineage(directory, record, state, ())), Table("", ["", ""], known)],
            "how to make it again": [shlex.join(record.command)],
        },
    )

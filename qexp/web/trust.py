"""How far a run can be trusted, showing itself: tests of posteriors, limits, repetitions."""

from __future__ import annotations

from typing import Any, TypeVar

from qexp.results.calibration import Calibration
from qexp.results.calibration_report import Calibrations, calibration_tables
from qexp.results.intervals import HeldOutIntervals, IntervalsOfRows, interval_tables
from qexp.results.limit import Limit
from qexp.store.directory import RunDirectory
from qexp.upkeep.verify import Verification
from qexp.web.html import Titled, View, fields_of
from qexp.web.run_page import drawings_of_all

S = TypeVar("S")


class ShownCalibration(Titled, Calibration):
    """A calibration, with its verdict, its tables and its figures."""

    directory: RunDirectory

    def view(self) -> View:
        parts = [*calibration_tables([self])]
        more = {"figures": drawings_of_all([Calibrations(self.directory)])}
        return View(f"Calibration of {self.directory.name}", parts=parts, more=more)


class ShownIntervals(Titled, HeldOutIntervals):
    """The intervals of held-out rows, with their coverage."""

    directory: RunDirectory

    def view(self) -> View:
        record = self.directory.record()
        figures = drawings_of_all([IntervalsOfRows(self.directory)])
        parts = [*interval_tables(self, record.units), *figures]
        return View(f"Intervals of {record.name}", cautions=[record.caution], parts=parts)


def shown_in(kind: type[S], found: Any, directory: RunDirectory) -> S:
    """What was found out about a run as a type that shows it."""
    shown = kind(**fields_of(found))
    object.__setattr__(shown, "directory", directory)  # of a frozen dataclass
    return shown


class ShownLimit(Titled, Limit):
    """The errors of exact posteriors, and what they mean."""

    def view(self) -> View:
        return View(f"Limit of {self.dataset}", cautions=[self.doubts], parts=[*self.parts()])


class ShownVerification(Titled, Verification):
    """Whether a repeated run is identical, with what has changed since."""

    def view(self) -> View:
        return View(f"{self.run}: {self.verdict}", parts=[*self.parts()])

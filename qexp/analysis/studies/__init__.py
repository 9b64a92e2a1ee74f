"""A study: experiences over a grid and seeds, what is missing of it run, and all of it in one table and one figure."""

from qexp.analysis.studies.asked import Asked
from qexp.analysis.studies.results import Study
from qexp.analysis.studies.running import planned, study

__all__ = ["Asked", "Study", "planned", "study"]

"""Studies: experiences over a grid and seeds, trained where runs are missing, with one table and one figure."""

from qexp.analysis.studies.asked import Asked
from qexp.analysis.studies.results import Study
from qexp.analysis.studies.running import planned, study

__all__ = ["Asked", "Study", "planned", "study"]

"""A fifth kind of dataset, outside of qexp: images in a folder, with numbers in labels.csv.

`LINES` are all that has to be said to qexp: a line for each of its tables by kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.analysis.evaluation.kinds import KINDS as EVALUATIONS
from qexp.analysis.look.kinds import KINDS as VIEWS
from qexp.analysis.prediction.files import KINDS as PREDICTIONS
from qexp.assemble.kinds import KINDS as OBJECTS
from qexp.runs.evaluation.kinds import KINDS as HELD_OUT
from qexp.runs.execution.kinds import KINDS as EXECUTIONS
from qexp.runs.figures.kinds import KINDS as FIGURES_BY_KIND
from qexp.runs.record.resolved import KINDS as RESOLVED
from qexp.spec.kinds import KINDS as DOCUMENTS
from tests.fifth_kind.documents import ImageSpecs, OnImages
from tests.fifth_kind.evaluation import judged
from tests.fifth_kind.figures import FIGURES
from tests.fifth_kind.look import LabelledImages
from tests.fifth_kind.objects import ImageKind
from tests.fifth_kind.prediction import PREDICTION
from tests.fifth_kind.runs import train

LINES: list[tuple[Mapping[str, Any], Any]] = [
    (DOCUMENTS, ImageSpecs()),
    (OBJECTS, ImageKind()),
    (RESOLVED, OnImages),
    (EXECUTIONS, train),
    (HELD_OUT, None),
    (FIGURES_BY_KIND, FIGURES),
    (PREDICTIONS, PREDICTION),
    (VIEWS, LabelledImages),
    (EVALUATIONS, judged),
]
"""Table → what it has for `images`."""

"""A fifth kind of dataset, outside of qexp: images in a folder, with numbers in labels.csv.

`LINES` are all that has to be said to qexp: a line for each of its tables by kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.kinds.drawing import KINDS as FIGURES_BY_KIND
from qexp.kinds.held_out import KINDS as HELD_OUT
from qexp.kinds.objects import KINDS as OBJECTS
from qexp.runs.evaluate import KINDS as EVALUATIONS
from qexp.runs.look import KINDS as VIEWS
from qexp.runs.predict import KINDS as PREDICTIONS
from qexp.runs.training import KINDS as EXECUTIONS
from qexp.spec.kinds import KINDS as DOCUMENTS
from qexp.store.resolved import KINDS as RESOLVED
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

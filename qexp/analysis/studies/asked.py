"""What somebody wants to have studied: whether there is all of it, and what runs it orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qexp import assemble
from qexp.analysis.studies.axes import Axis, axes_of, changes
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.metrics.built_in import asked_for
from qexp.runs.launch.order import Order
from qexp.runs.launch.pretraining import Pretraining
from qexp.runs.launch.sweep import memory_of
from qexp.runs.planning import plans
from qexp.runs.planning.grid import Grid
from qexp.spec.resolve import Overrides
from qexp.workspace import Workspace

STUDIED = "r2"
"""What is drawn if nothing else is asked for."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to have studied."""

    runs: Order
    """All but those of pretraining, which are run in the same way. Its `pretrain` is left out: see `pretraining`."""
    pretraining: Pretraining | None = None
    """Those of the experiences that start from a run start from one of these."""
    metric: str | None = None
    """`output.metric`, or a metric of the first output."""

    def axes(self) -> list[Axis]:
        """Those of pretraining first. Raises QexpError if there are none."""
        return axes_of(self.pretraining.grid if self.pretraining else {}, self.runs.grid)

    def order(self, experience: str, seeds: Sequence[int], grid: Grid, overrides: Overrides) -> Order:
        """Some of its runs. Those that were interrupted go on, so that asking for a study again completes it."""
        return replace(self.runs, experiences=[experience], seeds=seeds, grid=grid, overrides=overrides, resume=True)

    def pretraining_order(self) -> Order | None:
        """The runs to start from; None if there is no pretraining. Raises QexpError for what is no seed of it."""
        if self.pretraining is None:
            return None
        first = self.pretraining
        return self.order(first.experience, first.seeds(self.runs.seeds), first.grid, first.overrides)


def studied(asked: Asked, axes: Sequence[Axis], workspace: Workspace) -> tuple[str, str]:
    """Output and metric; all specs of the study are checked on the way.

    Raises QexpError for a spec, a value or seeds that are wrong, an experience that is named twice, a metric that is
    not reported, or pretraining that nothing starts from.
    """
    first, runs = asked.pretraining, asked.runs
    plans.require_few(len(runs.seeds) * len(runs.references) * math.prod(len(axis.changes) for axis in axes))
    plans.checked_seeds(runs.seeds)
    if twice := next((name for name in runs.references if runs.references.count(name) > 1), None):
        raise QexpError(f"the experience {twice} is named twice; name each once")
    if first is not None:
        for point in changes([axis for axis in axes if axis.of_pretraining]):
            assemble.experience(first.experience, {**first.overrides, **point}, workspace, memory_of(runs))
    documents = {}
    for reference in runs.references:
        for point in changes([axis for axis in axes if not axis.of_pretraining]):
            experience = assemble.experience(reference, {**runs.overrides, **point}, workspace, memory_of(runs))
            documents[reference] = experience.document
    name = asked.metric or STUDIED
    output, dot, metric = name.rpartition(".")
    output = output if dot else documents[runs.references[0]]["outputs"][0]
    for reference, document in documents.items():
        if output not in document["outputs"]:
            raise QexpError(
                f"--metric {name}: {reference} has no output '{output}'; {suggestion(output, document['outputs'])}"
            )
        known = asked_for(document["metrics"].get(output, []))
        if metric not in known:
            raise QexpError(f"--metric {name}: {reference} reports no '{metric}'; {suggestion(metric, known)}")
    if first is not None and not any(document["pretrain"] for document in documents.values()):
        raise QexpError(
            f"--pretrain {first.experience}: none of {', '.join(runs.references)} has 'pretrain' in its spec"
        )
    return output, metric

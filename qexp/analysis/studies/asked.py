"""The options of a study, their check, and the runs that the study orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qexp import assemble
from qexp.analysis.studies.axes import StudyAxis, changes, study_axes
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.metrics.built_in import asked_for
from qexp.runs.launch.order import Order
from qexp.runs.launch.pretraining import Pretraining
from qexp.runs.launch.sweep import memory_of
from qexp.runs.planning import plans
from qexp.runs.planning.grid import Grid
from qexp.spec.experiences import type_of
from qexp.spec.resolve import Overrides
from qexp.workspace import Workspace

STUDIED = "r2"
"""The metric that is studied by default."""


@dataclass(frozen=True)
class Asked:
    """The options of a study."""

    runs: Order
    """The runs other than those of pretraining, which use the same settings; its `pretrain` is not used."""
    pretraining: Pretraining | None = None
    """Experiences with `pretrain` in their spec start from these runs."""
    metric: str | None = None
    """`output.metric`, or a metric of the first output."""

    def axes(self) -> list[StudyAxis]:
        """The axes of the study, those of pretraining first. Raises QexpError if there are none."""
        return study_axes(self.pretraining.grid if self.pretraining else {}, self.runs.grid)

    def order(self, experience: str, seeds: Sequence[int], grid: Grid, overrides: Overrides) -> Order:
        """An order for some of its runs. Interrupted runs are resumed, so that repeating a study completes it."""
        return replace(self.runs, experiences=[experience], seeds=seeds, grid=grid, overrides=overrides, resume=True)

    def pretraining_order(self) -> Order | None:
        """The order of the pretraining runs; None without pretraining. Raises QexpError for an invalid seed of it."""
        if self.pretraining is None:
            return None
        first = self.pretraining
        return self.order(first.experience, first.seeds(self.runs.seeds), first.grid, first.overrides)


def studied(asked: Asked, axes: Sequence[StudyAxis], workspace: Workspace) -> tuple[str, str]:
    """The studied output and metric; checks all specs of the study.

    Raises QexpError for an invalid spec, value or seed, an experience that is named twice, a metric that is not
    reported, or pretraining that no experience uses.
    """
    first, runs = asked.pretraining, asked.runs
    plans.require_few(len(runs.seeds) * len(runs.references) * math.prod(len(axis.values) for axis in axes))
    plans.checked_seeds(runs.seeds)
    if twice := next((name for name in runs.references if runs.references.count(name) > 1), None):
        raise QexpError(f"the experience {twice} is named twice; name each once")
    parts = assemble.parts_of(workspace, memory_of(runs))
    if first is not None:
        for point in changes([axis for axis in axes if axis.of_pretraining]):
            assemble.experience(first.experience, {**first.overrides, **point}, workspace, parts)
    documents = {}
    for reference in runs.references:
        for point in changes([axis for axis in axes if not axis.of_pretraining]):
            experience = assemble.experience(reference, {**runs.overrides, **point}, workspace, parts)
            documents[reference] = experience.document
    name = asked.metric or STUDIED
    output, dot, metric = name.rpartition(".")
    main = runs.references[0]
    firsts = type_of(documents[main]).outputs(documents[main])
    if not dot and firsts is None:
        raise QexpError(f"the outputs of {main} are unknown before it has run; give --metric OUTPUT.METRIC")
    output = output if dot or firsts is None else firsts[0]
    for reference, document in documents.items():
        outputs = type_of(document).outputs(document)
        if outputs is None:
            continue
        if output not in outputs:
            raise QexpError(f"--metric {name}: {reference} has no output '{output}'; {suggestion(output, outputs)}")
        known = asked_for(document["metrics"].get(output, []))
        if metric not in known:
            raise QexpError(f"--metric {name}: {reference} reports no '{metric}'; {suggestion(metric, known)}")
    if first is not None and not any(document.get("pretrain") for document in documents.values()):
        raise QexpError(
            f"--pretrain {first.experience}: none of {', '.join(runs.references)} has 'pretrain' in its spec"
        )
    return output, metric

"""What is to be evaluated on other data, the data opened for it, and their independence of a run
and its ancestors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from qexp.base.tables import Tables
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError, UntrustedCodeError, suggestion
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import tables_of
from qexp.metrics.metric import Metrics
from qexp.networks.estimator import Estimator
from qexp.spec.kinds import documents_of
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory, run_named
from qexp.store.evaluations import GROUPS_TRAINED_ON, TRAINED_ON, VALIDATED
from qexp.store.record import Ancestor

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"
PARTS = (TRAIN, VALIDATION, TEST, ALL)


@dataclass(frozen=True)
class Independence:
    """Whether data are independent of those that a run was trained on, and why.

    known    None if it is unknown
    reasons  why they are not independent, or what is unknown; otherwise what was compared
    caution  what must be said with results on data that are not
    """

    known: bool | None
    reasons: tuple[str, ...]
    caution: str = TRAINED_ON

    @classmethod
    def of(
        cls, shared: Sequence[str], unknown: Sequence[str], compared: str, caution: str = TRAINED_ON
    ) -> Independence:
        """Not independent if anything is shared; unknown if anything is; else independent."""
        if shared:
            return cls(False, tuple(shared), caution)
        return cls(None, tuple(unknown)) if unknown else cls(True, (compared,))

    @classmethod
    def of_validation(cls, spec: Document, whose: str) -> Independence:
        """The independence of a run's validation data.

        spec   of the run
        whose  the data, and whose they are
        """
        role = "were looked at in training" if spec.get("keep") == "last" else "chose the epoch"
        return cls(False, (f"{whose}: not trained on, but they {role}",), VALIDATED)


@dataclass(frozen=True)
class EvaluationRequest:
    """What a run is to be evaluated on.

    document  the resolved dataset to evaluate on; None if it is files
    source    a file or folder with data in the form of the run's own
    part      of `PARTS`; None for the usual one of such data
    seed      of samples that are simulated, of masks, and of intervals
    """

    directory: RunDirectory
    spec: Document
    tables: Tables
    workspace: Workspace
    document: Document | None
    source: Path | None
    part: str | None
    seed: int
    device: torch.device
    remark: str = ""
    """What has changed in the dataset, as the run's weights need it."""

    @property
    def name(self) -> str:
        """The data as errors name them."""
        return str(self.source) if self.source is not None else "the dataset"

    @cached_property
    def run_seed(self) -> int:
        return self.directory.record().seed

    @cached_property
    def trained(self) -> Any:
        """The dataset that the run was trained on. Raises DatasetError if it is not there any more,
        or has changed.
        """
        return dataset_of(self.spec["dataset"], self.tables, self.workspace)

    @property
    def outputs(self) -> list[str]:
        return list(self.spec["outputs"])

    def chosen_part(self, usual: str, possible: Sequence[str], why: str) -> str:
        """The part that is evaluated. Raises QexpError for one that such data do not have.

        why  the reason for which others are not possible
        """
        part = self.part or usual
        if part not in PARTS:
            raise QexpError(f"`part={part}`: no such part; {suggestion(part, PARTS)}")
        if part not in possible:
            raise QexpError(f"`part={part}`: {why}; use {one_of(possible)}")
        return part

    def without_truth(self, names: Sequence[str]) -> QexpError:
        """The error for data that lack outputs, which can be predicted, but not evaluated."""
        lacking = ", ".join(f"'{name}'" for name in names)
        files = self.source if self.source is not None else "FILES"
        return QexpError(
            f"{self.name} has no {lacking}, so that estimates cannot be compared with the truth;"
            f" estimates alone are made by: qexp predict {self.directory.name} {files} --output"
            " FILE"
        )


@dataclass(frozen=True)
class EvaluationData:
    """Data opened for an evaluation.

    document       the dataset as a document, with the hash of its content
    usual          the part that is evaluated if none is asked for
    independence   compares them with the data that a run was trained on: the run itself, or one
                   that it started from
    evaluate       estimates them with the networks of the run, and writes tables to the attempt's
                   directory
    """

    document: Document
    part: str
    usual: str
    samples: int
    independence: Callable[[EvaluationRequest], Independence]
    evaluate: Callable[[Attempt, Sequence[Estimator], Mapping[str, Metrics]], Results | None]
    left_out: int = 0
    warnings: Sequence[str] = ()


def trained_on(copies: int, total: int, of_groups: int = 0) -> str:
    """The caution of data of which some are not independent: how many of all.

    copies     that were trained on
    of_groups  that were, or belong to a group of which some were; they are counted if none were
               trained on
    """
    words, count = (TRAINED_ON, copies) if copies else (GROUPS_TRAINED_ON, of_groups)
    return words if count >= total else f"partly {words} ({count:,} of {total:,})"


def one_of(words: Sequence[str]) -> str:
    """`train, test or all`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def independence_of(request: EvaluationRequest, data: EvaluationData) -> Independence:
    """Whether data are independent of those that a run, and its ancestors, were trained on."""
    record = request.directory.record()
    if record.foreign_weights is not None:
        return _unknown(f"{request.directory.name} has weights of another program")
    every = [data.independence(request)]
    # else the run keeps the hashes of its ancestors, too
    if not documents_of(request.spec["dataset"]).keeps_hashes:
        every += [_of_ancestor(ancestor, request, data) for ancestor in record.lineage]
    reasons: dict[bool | None, dict[str, None]] = {}
    for part in every:
        reasons.setdefault(part.known, {}).update(dict.fromkeys(part.reasons))
    if False in reasons:
        cautions = {part.caution for part in every if part.known is False}
        of_training = list(cautions - {VALIDATED}) or list(cautions)
        caution = of_training[0] if len(of_training) == 1 else TRAINED_ON
        return Independence(False, tuple(reasons[False]), caution)
    return Independence(None, tuple(reasons[None])) if None in reasons else every[0]


def _of_ancestor(
    ancestor: Ancestor, request: EvaluationRequest, data: EvaluationData
) -> Independence:
    try:
        directory = run_named(ancestor.name, request.workspace)
        record = directory.record()
        spec = directory.spec()
        same = (record.digest, record.seed) == (ancestor.digest, ancestor.seed)
        if record.foreign_weights is not None:
            return _unknown(
                f"{ancestor.name}, from which it started, has weights of another program"
            )
        if not same or documents_of(spec["dataset"]) is not documents_of(request.spec["dataset"]):
            return _unknown(
                f"it started from {ancestor.name}, which no longer exists or has data of another"
                " kind"
            )
        tables = tables_of(directory)
    except (NotFoundError, DamagedError, UntrustedCodeError) as error:
        return _unknown(f"it started from {ancestor.name}, which cannot be read: {error}")
    own_request = replace(request, directory=directory, spec=spec, tables=tables)
    independence = data.independence(own_request)
    origin = f"{ancestor.name}, from which it started"
    reasons = tuple(f"{origin}: {text}" for text in independence.reasons)
    return Independence(independence.known, reasons, independence.caution)


def _unknown(why: str) -> Independence:
    return Independence(None, (f"{why}: its training data are unknown",))

"""Evaluation on images of another folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qexp.base import files
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import ALL, Asked, Independence, Judged
from qexp.kinds.objects import dataset_of
from qexp.metrics.metric import Metrics
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.networks.estimator import Inversion
from tests.fifth_kind.objects import ImageDataset


def judged(asked: Asked) -> Judged:
    document = asked.document or {**asked.spec["dataset"], "path": str(asked.source), "found": str(asked.source)}
    document.pop("fingerprint", None)
    dataset = dataset_of(document, asked.tables, asked.workspace)
    assert isinstance(dataset, ImageDataset)
    rows = np.arange(len(dataset.parts))
    asked.chosen_part(ALL, (ALL,), "images have no other parts here")

    def evaluate(attempt: Attempt, models: Sequence[Inversion], metrics: Mapping[str, Metrics]) -> Results:
        samples = dataset.samples(rows)
        made = models[0].estimate(samples)
        attempt.directory.results.mkdir(exist_ok=True)
        columns = [values[:, 0].tolist() for name in made for values in (samples[name], made[name])]
        header = [column for name in made for column in (name, f"{name}_estimate")]
        files.write_csv(attempt.directory.results / "estimates.csv", header, zip(*columns, strict=True))
        return Results({ALL: {name: evaluate_metrics(of, made[name], samples[name]) for name, of in metrics.items()}})

    unknown = Independence(None, ("nobody compared the images",))
    document = {**document, "fingerprint": dataset.fingerprint}
    return Judged(document, ALL, ALL, len(rows), lambda of: unknown, evaluate)

"""Training on images, and what is written of the test images."""

from __future__ import annotations

from qexp.base import files
from qexp.kinds.attempt import Attempt, Results
from qexp.networks.training import Trainer
from qexp.runs.training import train_network


def train(attempt: Attempt) -> Results | None:
    return train_network(attempt, evaluate)


def evaluate(attempt: Attempt, trainer: Trainer) -> Results:
    test = trainer.data.test
    estimates = trainer.model.estimate(test)
    names = list(estimates)
    columns = [values[:, 0].tolist() for name in names for values in (test[name], estimates[name])]
    header = [column for name in names for column in (name, f"{name}_estimate")]
    attempt.directory.results.mkdir(exist_ok=True)
    files.write_csv(attempt.directory.results / "estimates.csv", header, zip(*columns, strict=True))
    return Results({"test": trainer.evaluate(test)})

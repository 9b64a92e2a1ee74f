"""How a run is trained and evaluated, by the kind of its dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from qexp.datasets.spectra import SPECTRUM, SpectrumSamples
from qexp.networks.training import Trainer
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import fields, images, spectra
from qexp.runs.evaluation.intervals import keep_intervals
from qexp.runs.evaluation.results import Results
from qexp.runs.evaluation.spectra.subject import Subject
from qexp.runs.execution.train_network import train_network
from qexp.runs.folds.train import train_folds


def _on_fields(attempt: Attempt, trainer: Trainer) -> Results | None:
    made = fields.evaluate(attempt, attempt.dataset.test, trainer.model, trainer.recipe.metrics)
    if made is None:
        return None
    return replace(made, targets=fields.training_ranges(attempt.dataset, trainer.model.network.outputs))


def _on_spectra(attempt: Attempt, trainer: Trainer) -> Results | None:
    data = trainer.data
    assert isinstance(data, SpectrumSamples)
    rows = data.train_rows, data.test_rows
    subject = Subject(attempt.dataset, trainer.model, data, *rows, trainer.recipe.metrics)
    results = spectra.evaluate(attempt, subject)
    if results is not None and set(trainer.model.network.outputs) - {SPECTRUM}:
        keep_intervals(attempt.directory)
    return results


KINDS: Mapping[str, Callable[[Attempt], Results | None]] = {
    "generated": lambda attempt: train_network(attempt, images.evaluate),
    "tabular": train_folds,
    "gridded": lambda attempt: train_network(attempt, _on_fields),
    "spectra": lambda attempt: train_network(attempt, _on_spectra),
}
"""Type of the dataset → trains and evaluates a run, and returns its results; None if interrupted."""

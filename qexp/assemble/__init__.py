"""From specs to objects: the only place that knows both."""

from qexp.assemble.objects import (
    data_of,
    dataset_of,
    device_of,
    fit_transforms,
    initial_model,
    model_of,
    network_of,
    recipe_of,
    threads_for,
)
from qexp.assemble.specs import Experience, dataset_document, experience, problems_in
from qexp.assemble.tables import BUILT_IN, tables_here, tables_with

__all__ = [
    "BUILT_IN",
    "Experience",
    "data_of",
    "dataset_document",
    "dataset_of",
    "device_of",
    "experience",
    "fit_transforms",
    "initial_model",
    "model_of",
    "network_of",
    "problems_in",
    "recipe_of",
    "tables_here",
    "tables_with",
    "threads_for",
]

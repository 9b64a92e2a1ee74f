"""From specs to objects: the only package that knows both."""

from qexp.assemble.checks import Parts
from qexp.assemble.experiences import objects_of
from qexp.assemble.folds import Folds
from qexp.assemble.kinds import KINDS, Dataset, kind_of
from qexp.assemble.kinds.generated import generated_of, require_units_of
from qexp.assemble.networks import model_of, network_of, trained_model
from qexp.assemble.objects import (
    data_of,
    dataset_of,
    device_of,
    fit_transforms,
    initial_model,
    recipe_of,
    require_device_name,
)
from qexp.assemble.specs import (
    Examined,
    Experience,
    awaited_in,
    candidates,
    dataset_document,
    examined,
    experience,
    is_unchanged,
    opened_dataset,
    parts_of,
)
from qexp.assemble.tables import BUILT_IN, tables_here, tables_of_a_run, tables_with
from qexp.assemble.threads import threads, threads_for, threads_to_predict
from qexp.spec.experiences import caution, units_of

__all__ = [
    "BUILT_IN",
    "KINDS",
    "Dataset",
    "Examined",
    "Experience",
    "Folds",
    "Parts",
    "awaited_in",
    "candidates",
    "caution",
    "data_of",
    "dataset_document",
    "dataset_of",
    "device_of",
    "examined",
    "experience",
    "fit_transforms",
    "generated_of",
    "initial_model",
    "is_unchanged",
    "kind_of",
    "model_of",
    "network_of",
    "objects_of",
    "opened_dataset",
    "parts_of",
    "recipe_of",
    "require_device_name",
    "require_units_of",
    "tables_here",
    "tables_of_a_run",
    "tables_with",
    "threads",
    "threads_for",
    "threads_to_predict",
    "trained_model",
    "units_of",
]

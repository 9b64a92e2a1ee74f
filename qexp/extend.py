"""What a workspace's `specs/extensions.py` builds its entries of: the one path for its imports, wherever modules lie.

Everything else in qexp may move. The names are documented where they are defined.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from qexp.base.quantities import QUANTITIES, Quantity
from qexp.base.tables import Entry
from qexp.errors import QexpError
from qexp.metrics.baselines import Baseline
from qexp.metrics.metric import Additive, Metric
from qexp.metrics.splits import Fold, Split, SplitError
from qexp.networks.callbacks import Callback, Epoch
from qexp.networks.layers import ACTIVATIONS
from qexp.networks.losses import Loss
from qexp.networks.modules import JoiningEntry
from qexp.networks.optimizers import ByEpoch, Schedule
from qexp.networks.shapes import Shape, ShapeError
from qexp.networks.transforms import Transform
from qexp.physics.crack import penny, penny_image
from qexp.physics.dislocation import cdm, cdm_image, okada, okada_image
from qexp.physics.ellipsoid import yang, yang_image
from qexp.physics.geometry import grid, line_of_sight, project
from qexp.physics.point import mctigue, mctigue_image, mogi, mogi_image, pcdm, pcdm_image
from qexp.simulation.distributions import Distribution
from qexp.simulation.generators import DeformationImages, Generator, Requirement, Source, below_surface, half_space
from qexp.simulation.noise import Grid, Layout, Noise, Points

__all__ = [
    "ACTIVATIONS",
    "QUANTITIES",
    "Additive",
    "Baseline",
    "ByEpoch",
    "Callback",
    "DeformationImages",
    "Distribution",
    "Entry",
    "Epoch",
    "Fold",
    "Generator",
    "Grid",
    "JoiningEntry",
    "Layout",
    "Loss",
    "Metric",
    "Noise",
    "Points",
    "QexpError",
    "Quantity",
    "Requirement",
    "Schedule",
    "Shape",
    "ShapeError",
    "Source",
    "Split",
    "SplitError",
    "Transform",
    "below_surface",
    "cdm",
    "cdm_image",
    "grid",
    "half_space",
    "line_of_sight",
    "mctigue",
    "mctigue_image",
    "mogi",
    "mogi_image",
    "okada",
    "okada_image",
    "pcdm",
    "pcdm_image",
    "penny",
    "penny_image",
    "project",
    "yang",
    "yang_image",
]

FACES = [
    "qexp.baselines.estimators",
    "qexp.datasets.distributions",
    "qexp.datasets.generators",
    "qexp.datasets.generators.deformation",
    "qexp.datasets.generators.generator",
    "qexp.datasets.generators.requirements",
    "qexp.datasets.noises.layout",
    "qexp.datasets.noises.noise",
    "qexp.datasets.splits",
    "qexp.datasets.transforms.transform",
    "qexp.errors",
    "qexp.forward.crack",
    "qexp.forward.dislocation",
    "qexp.forward.ellipsoid",
    "qexp.forward.geometry",
    "qexp.forward.point",
    "qexp.metrics.metric",
    "qexp.models.activations",
    "qexp.models.modules",
    "qexp.models.shapes",
    "qexp.quantities",
    "qexp.tables",
    "qexp.training.callbacks",
    "qexp.training.losses",
    "qexp.training.schedules",
]
"""Modules from which extensions imported these names before there was this one. The copies of extensions in old runs
still do: where there is no module of that name any more, or none above it, it stands for this one."""


class OldPaths(MetaPathFinder, Loader):
    """Finds modules that have moved; those that have a file are loaded as always."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(f"{face}.".startswith(f"{fullname}.") for face in FACES):
            return None
        usual = PathFinder.find_spec(fullname, path)
        has_a_file = usual is not None and usual.origin is not None  # an empty folder that was left has none
        return None if has_a_file else ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update({name: globals()[name] for name in __all__})


sys.meta_path.insert(0, OldPaths())

"""What a workspace's `specs/extensions.py` builds its entries of: the one path for its imports, wherever modules lie.

Everything else in qexp may move. The names are documented where they are defined.
"""

from __future__ import annotations

from qexp.base.quantities import QUANTITIES, Quantities, Quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Entry, Tables
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import Asked, Independence, Judged
from qexp.kinds.figures import FIGURES_FOLDER, Pictures, learning_curve
from qexp.kinds.kind import KindData, Samples
from qexp.kinds.look import Variable, View
from qexp.kinds.objects import dataset_of
from qexp.kinds.options import PredictOptions
from qexp.kinds.prediction import FileKind
from qexp.kinds.trained import load_model
from qexp.kinds.training import train_network
from qexp.metrics.baselines import Baseline
from qexp.metrics.metric import Additive, Metric, evaluate
from qexp.metrics.splits import Fold, Split, SplitError
from qexp.networks.callbacks import Callback, Epoch
from qexp.networks.estimator import Inversion
from qexp.networks.layers import ACTIVATIONS
from qexp.networks.losses import Loss
from qexp.networks.modules import JoiningEntry
from qexp.networks.network import Network
from qexp.networks.optimizers import ByEpoch, Schedule
from qexp.networks.shapes import Shape, ShapeError
from qexp.networks.training import DrawnData, Trainer
from qexp.networks.transforms import Transform
from qexp.physics.crack import penny, penny_image
from qexp.physics.dislocation import cdm, cdm_image, okada, okada_image
from qexp.physics.ellipsoid import yang, yang_image
from qexp.physics.geometry import grid, line_of_sight, project
from qexp.physics.point import mctigue, mctigue_image, mogi, mogi_image, pcdm, pcdm_image
from qexp.simulation.distributions import Distribution
from qexp.simulation.generators import DeformationImages, Generator, Requirement, Source, below_surface, half_space
from qexp.simulation.noise import Grid, Layout, Noise, Points
from qexp.spec.kinds import Kind, KindDocuments
from qexp.spec.reading import Finding
from qexp.store.directory import RunDirectory

__all__ = [
    "ACTIVATIONS",
    "FIGURES_FOLDER",
    "QUANTITIES",
    "Additive",
    "Asked",
    "Attempt",
    "Baseline",
    "ByEpoch",
    "Callback",
    "DatasetError",
    "DeformationImages",
    "Distribution",
    "DrawnData",
    "Entry",
    "Epoch",
    "FileKind",
    "Finding",
    "Fold",
    "Generator",
    "Grid",
    "Independence",
    "Inversion",
    "JoiningEntry",
    "Judged",
    "Kind",
    "KindData",
    "KindDocuments",
    "Layout",
    "Loss",
    "Metric",
    "Network",
    "Noise",
    "Pictures",
    "Points",
    "PredictOptions",
    "QexpError",
    "Quantities",
    "Quantity",
    "Requirement",
    "Results",
    "RunDirectory",
    "Samples",
    "Schedule",
    "Seeds",
    "Shape",
    "ShapeError",
    "Source",
    "Split",
    "SplitError",
    "Tables",
    "Trainer",
    "Transform",
    "Variable",
    "View",
    "Workspace",
    "below_surface",
    "cdm",
    "cdm_image",
    "dataset_of",
    "evaluate",
    "grid",
    "half_space",
    "learning_curve",
    "line_of_sight",
    "load_model",
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
    "train_network",
    "yang",
    "yang_image",
]

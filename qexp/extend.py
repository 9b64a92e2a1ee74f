"""What `specs/extensions.py` of a workspace and packages build their entries of: their one path for
imports.

Everything else in qexp may move. The names are documented where they are defined.
"""

from qexp.base.quantities import (
    QUANTITIES as QUANTITIES,
    Quantities as Quantities,
    Quantity as Quantity,
)
from qexp.base.seeds import Seeds as Seeds
from qexp.base.tables import Entry as Entry, Tables as Tables
from qexp.base.workspace import Workspace as Workspace
from qexp.errors import DatasetError as DatasetError, QexpError as QexpError
from qexp.jobs.scheduler import Option as Option, Scheduler as Scheduler, Submission as Submission
from qexp.kinds.attempt import Attempt as Attempt, Results as Results
from qexp.kinds.evaluation import (
    EvaluationData as EvaluationData,
    EvaluationRequest as EvaluationRequest,
    Independence as Independence,
)
from qexp.kinds.figures import (
    FIGURES_FOLDER as FIGURES_FOLDER,
    Pictures as Pictures,
    learning_curve as learning_curve,
)
from qexp.kinds.kind import KindData as KindData
from qexp.kinds.memory import Samples as Samples
from qexp.kinds.networks import load_model as load_model
from qexp.kinds.objects import dataset_of as dataset_of
from qexp.kinds.options import PredictOptions as PredictOptions
from qexp.kinds.prediction import FileKind as FileKind, Prediction as Prediction
from qexp.kinds.preview import Preview as Preview, Variable as Variable
from qexp.kinds.training import NetworkTraining as NetworkTraining
from qexp.metrics.baselines import Baseline as Baseline
from qexp.metrics.metric import Additive as Additive, Metric as Metric, evaluate as evaluate
from qexp.metrics.splits import Fold as Fold, Split as Split, SplitError as SplitError
from qexp.networks.callbacks import Callback as Callback, Epoch as Epoch
from qexp.networks.estimator import Estimator as Estimator
from qexp.networks.layers import ACTIVATIONS as ACTIVATIONS
from qexp.networks.losses import Loss as Loss
from qexp.networks.modules import JoiningEntry as JoiningEntry
from qexp.networks.network import Network as Network
from qexp.networks.optimizers import ByEpoch as ByEpoch, Schedule as Schedule
from qexp.networks.shapes import Shape as Shape, ShapeError as ShapeError
from qexp.networks.training import DrawnData as DrawnData, Trainer as Trainer
from qexp.networks.transforms import Transform as Transform
from qexp.observations.observation import Track as Track
from qexp.observations.readers import Reader as Reader
from qexp.observations.reading import Reading as Reading, ReadOptions as ReadOptions
from qexp.physics.crack import penny as penny, penny_image as penny_image
from qexp.physics.dislocation import (
    cdm as cdm,
    cdm_image as cdm_image,
    okada as okada,
    okada_image as okada_image,
)
from qexp.physics.ellipsoid import yang as yang, yang_image as yang_image
from qexp.physics.geometry import grid as grid, line_of_sight as line_of_sight, project as project
from qexp.physics.point import (
    mctigue as mctigue,
    mctigue_image as mctigue_image,
    mogi as mogi,
    mogi_image as mogi_image,
    pcdm as pcdm,
    pcdm_image as pcdm_image,
)
from qexp.simulation.distributions import Distribution as Distribution
from qexp.simulation.generators import (
    DeformationImages as DeformationImages,
    Generator as Generator,
    Requirement as Requirement,
    Source as Source,
    below_surface as below_surface,
    half_space as half_space,
)
from qexp.simulation.noise import Grid as Grid, Layout as Layout, Noise as Noise, Points as Points
from qexp.spec.kinds import Kind as Kind, KindDocuments as KindDocuments
from qexp.spec.reading import Finding as Finding
from qexp.store.directory import RunDirectory as RunDirectory
from qexp.store.record import State as State

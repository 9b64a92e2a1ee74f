"""qexp: declare experiments in JSON, train networks that invert models, see where they can be trusted."""

# Loading a subpackage binds its name here, once; loaded first, it leaves the name `runs` to the function.
import qexp.runs  # noqa: F401
from qexp.api.deformation import invert, observe
from qexp.api.estimation import export_network, matrix, predict
from qexp.api.evaluation import calibrate, evaluate, intervals, limit
from qexp.api.keeping import act, doctor, import_run, import_weights, purge, reindex, restore
from qexp.api.listing import compare, report, runs, serve, status
from qexp.api.runs import Run, open_run
from qexp.api.specs import images, make_ice, make_xrf, samples, show_data, show_images, specs
from qexp.api.training import run, study, sweep
from qexp.base.machine import wait_without_spinning
from qexp.runs.order import Order, Pretraining

wait_without_spinning()  # no import above loads torch

__version__ = "0.1.0"

__all__ = [
    "Order",
    "Pretraining",
    "Run",
    "act",
    "calibrate",
    "compare",
    "doctor",
    "evaluate",
    "export_network",
    "images",
    "import_run",
    "import_weights",
    "intervals",
    "invert",
    "limit",
    "make_ice",
    "make_xrf",
    "matrix",
    "observe",
    "open_run",
    "predict",
    "purge",
    "reindex",
    "report",
    "restore",
    "run",
    "runs",
    "samples",
    "serve",
    "show_data",
    "show_images",
    "specs",
    "status",
    "study",
    "sweep",
]

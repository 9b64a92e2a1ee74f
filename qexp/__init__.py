"""qexp: declare experiments in JSON, train networks that invert models, see where they can be trusted."""

# Loading a subpackage binds its name here, once; loaded first, it leaves the name `runs` to the function.
import qexp.runs  # noqa: F401
from qexp.api.deformation import invert as invert, observe as observe
from qexp.api.estimation import export_network as export_network, matrix as matrix, predict as predict
from qexp.api.keeping import (
    act as act,
    doctor as doctor,
    import_run as import_run,
    import_weights as import_weights,
    purge as purge,
    reindex as reindex,
    restore as restore,
)
from qexp.api.listing import compare as compare, report as report, runs as runs, serve as serve, status as status
from qexp.api.runs import (
    Run as Run,
    calibrate as calibrate,
    evaluate as evaluate,
    intervals as intervals,
    limit as limit,
    open_run as open_run,
)
from qexp.api.specs import (
    images as images,
    make_ice as make_ice,
    make_xrf as make_xrf,
    samples as samples,
    show_data as show_data,
    show_images as show_images,
    specs as specs,
)
from qexp.api.training import run as run, study as study, sweep as sweep
from qexp.base.machine import wait_without_spinning as _wait_without_spinning
from qexp.runs.order import Order as Order, Pretraining as Pretraining

_wait_without_spinning()  # no import above loads torch

__version__ = "0.1.0"

"""The names of `import qexp`, and where each is loaded from when it is used."""

from . import api as api, errors as errors, extend as extend
from .api.deformation import invert as invert, observe as observe
from .api.estimation import export_network as export_network, matrix as matrix, predict as predict
from .api.keeping import (
    act as act,
    doctor as doctor,
    import_run as import_run,
    import_weights as import_weights,
    purge as purge,
    reindex as reindex,
    restore as restore,
)
from .api.listing import compare as compare, report as report, runs as runs, serve as serve, status as status
from .api.runs import (
    Run as Run,
    calibrate as calibrate,
    evaluate as evaluate,
    intervals as intervals,
    limit as limit,
    open_run as open_run,
)
from .api.specs import (
    images as images,
    make_ice as make_ice,
    make_xrf as make_xrf,
    samples as samples,
    show_data as show_data,
    show_images as show_images,
    specs as specs,
)
from .api.training import run as run, study as study, sweep as sweep
from .runs.order import Order as Order, Pretraining as Pretraining

__version__: str

"""qexp: declare experiments in JSON, train networks that invert models, see where they can be trusted."""

# Loading a subpackage binds its name here, once; loaded first, it leaves the name `runs` to the function.
import qexp.runs  # noqa: F401
from qexp.api import (
    Order,
    Pretraining,
    Run,
    act,
    compare,
    doctor,
    evaluate,
    export_network,
    import_run,
    import_weights,
    invert,
    make_ice,
    make_xrf,
    matrix,
    observe,
    open_run,
    predict,
    purge,
    reindex,
    report,
    restore,
    run,
    runs,
    samples,
    serve,
    show_data,
    specs,
    status,
    study,
    sweep,
)
from qexp.threads import wait_without_spinning

wait_without_spinning()  # no import above loads torch

__version__ = "0.1.0"

__all__ = [
    "Order",
    "Pretraining",
    "Run",
    "act",
    "compare",
    "doctor",
    "evaluate",
    "export_network",
    "import_run",
    "import_weights",
    "invert",
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
    "specs",
    "status",
    "study",
    "sweep",
]

"""What `import qexp` offers, and what the commands call: Python can do all that the shell can.

Importing it is quick; each function loads what it needs when it is called.
"""

from qexp.api.acting import act, actions
from qexp.api.calibrating import calibrate
from qexp.api.covering import intervals
from qexp.api.data import images, make_ice, make_xrf, samples, show_data, show_images
from qexp.api.evaluation import evaluate
from qexp.api.inversion import export_network, matrix, predict, submit_predictions
from qexp.api.inverting import invert
from qexp.api.keeping import (
    PurgedCache,
    doctor,
    import_run,
    import_weights,
    is_archive,
    purge,
    purge_cache,
    reindex,
    remove,
    restore,
    trash,
)
from qexp.api.limiting import limit
from qexp.api.looking import (
    Status,
    Summary,
    ancestors,
    columns,
    compare,
    every_run,
    groups,
    newest,
    ordered,
    rows,
    runs,
    select,
    status,
    tree,
)
from qexp.api.observing import observe
from qexp.api.reporting import report
from qexp.api.run_handle import Run, open_run, open_runs
from qexp.api.serving import serve
from qexp.api.specs import Validation, init, schema, specs, tables, validate
from qexp.api.training import (
    Stopped,
    launch,
    planned_study,
    prepare,
    refresh,
    run,
    stop,
    stop_launch,
    study,
    sweep,
    train,
    wait,
)
from qexp.runs.launch.order import Order
from qexp.runs.launch.pretraining import Pretraining

__all__ = [
    "Order",
    "Pretraining",
    "PurgedCache",
    "Run",
    "Status",
    "Stopped",
    "Summary",
    "Validation",
    "act",
    "actions",
    "ancestors",
    "calibrate",
    "columns",
    "compare",
    "doctor",
    "evaluate",
    "every_run",
    "export_network",
    "groups",
    "images",
    "import_run",
    "import_weights",
    "init",
    "intervals",
    "invert",
    "is_archive",
    "launch",
    "limit",
    "make_ice",
    "make_xrf",
    "matrix",
    "newest",
    "observe",
    "open_run",
    "open_runs",
    "ordered",
    "planned_study",
    "predict",
    "prepare",
    "purge",
    "purge_cache",
    "refresh",
    "reindex",
    "remove",
    "report",
    "restore",
    "rows",
    "run",
    "runs",
    "samples",
    "schema",
    "select",
    "serve",
    "show_data",
    "show_images",
    "specs",
    "status",
    "stop",
    "stop_launch",
    "study",
    "submit_predictions",
    "sweep",
    "tables",
    "train",
    "trash",
    "tree",
    "validate",
    "wait",
]

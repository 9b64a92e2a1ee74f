"""What `import qexp` offers, and what the commands call: Python can do all that the shell can.

Importing it is quick; each function loads what it needs when it is called.
"""

from qexp.api.deformation import invert as invert, observe as observe
from qexp.api.estimation import (
    export_network as export_network,
    matrix as matrix,
    predict as predict,
    submit_predictions as submit_predictions,
)
from qexp.api.keeping import (
    PurgedCache as PurgedCache,
    act as act,
    actions as actions,
    doctor as doctor,
    import_run as import_run,
    import_weights as import_weights,
    is_archive as is_archive,
    purge as purge,
    purge_cache as purge_cache,
    reindex as reindex,
    remove as remove,
    restore as restore,
    trash as trash,
)
from qexp.api.listing import (
    Status as Status,
    Summary as Summary,
    ancestors as ancestors,
    columns as columns,
    compare as compare,
    every_run as every_run,
    groups as groups,
    listed as listed,
    newest as newest,
    ordered as ordered,
    report as report,
    rows as rows,
    runs as runs,
    serve as serve,
    status as status,
    tree as tree,
)
from qexp.api.runs import (
    Run as Run,
    calibrate as calibrate,
    evaluate as evaluate,
    intervals as intervals,
    limit as limit,
    open_run as open_run,
    open_runs as open_runs,
)
from qexp.api.specs import (
    Validation as Validation,
    images as images,
    init as init,
    make_ice as make_ice,
    make_xrf as make_xrf,
    samples as samples,
    schema as schema,
    show_data as show_data,
    show_images as show_images,
    specs as specs,
    tables as tables,
    validate as validate,
)
from qexp.api.training import (
    Stopped as Stopped,
    launch as launch,
    planned_study as planned_study,
    prepare as prepare,
    refresh as refresh,
    run as run,
    stop as stop,
    stop_launch as stop_launch,
    study as study,
    sweep as sweep,
    train as train,
    wait as wait,
)
from qexp.runs.order import Order as Order, Pretraining as Pretraining

"""One network that learns what all networks of a run on rows estimate together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from qexp.base import files, formats
from qexp.base.machine import freed_memory_kept, threads
from qexp.base.outputs import periods_in
from qexp.base.quantities import nearest
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.networks import imputation_of, model_of
from qexp.kinds.objects import dataset_of
from qexp.kinds.options import DistilOptions, PredictOptions
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.rows.prediction import BLOCK, CHUNK, RowModel, row_model
from qexp.kinds.tables import tables_of
from qexp.metrics.built_in import root_mean_squared_error
from qexp.networks.network import Network
from qexp.results.distilled import DISTILLED, DistilledErrors, ErrorsOfBoth
from qexp.rows.formats import Matrix, open_rows
from qexp.spec.reading import Document
from qexp.store.directory import RunDirectory
from qexp.store.record import require_name

FEWEST_ROWS, MOST_ROWS = 20, 50_000
"""Rows that are estimated; of more in a file so many are drawn."""
MIXED_ROWS, NEIGHBOURS = 20_000, 5
"""Rows on the lines from each of the run's own rows to its nearest ones, where no file is given."""
HELD_OUT = {"type": "random", "parameters": {"share": 0.1}}
RECIPE = {
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "schedule": "cosine",
    "epochs": 100,
    "batch_size": 512,
}


def distil(
    teacher: RunDirectory, workspace: Workspace, options: DistilOptions
) -> tuple[Path, Callable[[RunDirectory], None]]:
    """Write a table of estimates and an experience on it: its file, and what keeps the errors of
    its finished run.

    Raises QexpError before anything is written.
    """
    record = teacher.record()
    spec = teacher.training_spec()
    model = _model(teacher, options)
    network = model_of(spec, tables_of(teacher)).network
    if imputation_of(spec) is not None:
        raise QexpError(
            f"{teacher.name} fills in missing inputs, which a network of estimates would not learn"
        )
    if network.heads:
        made = "posteriors" if network.posteriors else "probabilities of classes"
        raise QexpError(
            f"{teacher.name} makes {made}, which the estimates of one network cannot replace"
        )
    given: Document = spec["dataset"]
    dataset: TabularDataset = dataset_of(given, tables_of(teacher))  # type: ignore[assignment]
    values = [dataset.values[name] for name in spec["inputs"]]
    own = np.concatenate(values, axis=1).astype(np.float32)
    random = Seeds(options.seed).numpy("distil")
    if options.rows is None:
        rows, words = _mixed(own, random)
    else:
        rows, words = _drawn(Path(options.rows), model, random)
    name = require_name(options.name or f"{teacher.name}_distilled")
    table: Document = {"type": "tabular", "path": f"distilled/{name}.csv", "units": given["units"]}
    columns: list[str] = []
    for key in ("inputs", "outputs"):
        table[key] = {variable: given[key][variable] for variable in spec[key]}
        columns += chain.from_iterable(table[key].values())
    # older runs know no ranges of outputs
    known = zip(columns, (*record.features, *record.targets), strict=False)
    ranges = {column: [one.least, one.greatest] for column, one in known if one.least is not None}
    about = {"run": teacher.name, "digest": record.digest, "ranges": ranges, "rows": words}
    table["estimates_of"] = {**about, "caution": record.caution}
    kept = ("inputs", "outputs", "transforms", "limits", "metrics")
    experience: Document = {key: spec[key] for key in kept if key in spec}
    experience |= {"model": _small(network), "dataset": table, **RECIPE}
    experience |= {"losses": "mse", "split": HELD_OUT, "inner": HELD_OUT}
    target = workspace.specs / "experiences" / f"{name}.json"
    lines = np.column_stack([rows, _estimates(model, rows)]).tolist()
    contents = {
        workspace.root / "data" / table["path"]: formats.csv_text(columns, lines).encode(),
        target: formats.json_bytes(experience),
    }
    _write(contents, workspace)

    def keep_errors(student: RunDirectory) -> None:
        """RMSE of both over the measured rows, beside those where the run held each out."""
        made = [_estimates(each, own).T for each in (_model(student, options), model)]
        periods = periods_in(model.outputs)
        both = {}
        for output, *estimates in zip(model.outputs, *made, strict=True):
            truth = dataset.values[output][:, 0]
            turned = [nearest(values, truth, periods.get(output)) for values in estimates]
            of_network, of_run = (float(root_mean_squared_error(each, truth)) for each in turned)
            held_out = record.results.get("test", {}).get(output, {}).get("rmse")
            both[output] = ErrorsOfBoth(of_network=of_network, of_run=of_run, held_out=held_out)
        kept = DistilledErrors(measured_rows=len(own), errors=both)
        formats.write_json(student.results / DISTILLED, kept.document())

    return target, keep_errors


def _write(contents: Mapping[Path, bytes], workspace: Workspace) -> None:
    """Write files. Raises QexpError, before any is written, if one is there with other content."""
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content:
            raise QexpError(
                f"{workspace.shown(path)} exists already, and is of other estimates; choose another"
                " `name`"
            )
    for path, content in contents.items():
        files.make_folder(path.parent)
        files.write_bytes(path, content)


def _small(network: Network) -> Document:
    """A model for the inputs and outputs of a network: a small network for each output."""
    inputs = list(network.inputs)
    join = ["join"] if len(network.inputs) > 1 else []
    operations: Document = {name: {"module": "concatenate"} for name in join}
    for name in network.outputs:
        parameters = {"units": [64, 64], "activation": "gelu", "outputs": network.shapes[name][0]}
        operations[f"of_{name}"] = {"module": "mlp", "parameters": parameters}
    return {
        "inputs": {name: {"size": list(shape)} for name, shape in network.inputs.items()},
        "outputs": network.outputs,
        "operations": operations,
        "branches": [
            {
                "x_name": inputs if join else inputs[0],
                "y_name": name,
                "operations": [*join, f"of_{name}"],
            }
            for name in network.outputs
        ],
    }


def _model(run: RunDirectory, options: DistilOptions) -> RowModel:
    columns = options.columns if "estimates_of" not in run.training_spec()["dataset"] else None
    return row_model(run, PredictOptions("", "", columns=columns, device=options.device))


def _drawn(file: Path, model: RowModel, random: np.random.Generator) -> tuple[Matrix, str]:
    """Rows of a file, and in words which they are."""
    chunks = open_rows(file, model.features, model.columns).chunks(CHUNK)
    rows = np.concatenate([chunk.features for chunk in chunks])
    whole = rows[np.isfinite(rows).all(axis=1)]
    if len(whole) < FEWEST_ROWS:
        raise QexpError(
            f"{file}: {len(whole)} rows without gaps; give at least {FEWEST_ROWS}, better 10,000"
        )
    drawn = whole if len(whole) <= MOST_ROWS else random.permutation(whole)[:MOST_ROWS]
    gaps = f", {len(rows) - len(whole):,} of which have gaps" if len(whole) < len(rows) else ""
    return drawn, f"{len(drawn):,} of {len(rows):,} rows of {file.name}{gaps}"


def _mixed(own: Matrix, random: np.random.Generator) -> tuple[Matrix, str]:
    """Rows between the run's own, and this in words."""
    from scipy.spatial import cKDTree

    scaled = own / np.where(np.ptp(own, axis=0) > 0, own.std(axis=0), 1)
    _, neighbours = cKDTree(scaled).query(scaled, min(NEIGHBOURS + 1, len(own)))
    first = random.integers(len(own), size=MIXED_ROWS)
    # the nearest is itself
    second = neighbours[first, random.integers(1, neighbours.shape[1], size=MIXED_ROWS)]
    share = random.random((MIXED_ROWS, 1), dtype=np.float32)
    mixed = own[first] + share * (own[second] - own[first])
    return mixed, f"{MIXED_ROWS:,} rows between its own {len(own):,} rows"


def _estimates(model: RowModel, rows: Matrix) -> Matrix:
    """(row, output), on all cores."""
    count = torch.get_num_threads()
    with (
        threads(count),
        freed_memory_kept(),
        ThreadPoolExecutor(count, "", torch.set_num_threads, (1,)) as pool,
    ):
        parts = [*pool.map(model.estimate, np.array_split(rows, -(-len(rows) // BLOCK)))]
    blocks = []
    for part in parts:
        blocks.append(np.stack([made.middle for made in part.values()], axis=1))
    return np.concatenate(blocks)

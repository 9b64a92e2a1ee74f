"""Estimates for files of rows against a bare forward pass over an array in memory; and how much
memory they take.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.timing import Comparison, at_least, seconds
from qexp.base.machine import threads
from qexp.base.outputs import Estimated, Number
from qexp.base.seeds import Seeds
from qexp.kinds.held_out import with_ends
from qexp.kinds.rows.prediction import RowModel
from qexp.kinds.tables import BUILT_IN
from qexp.networks.estimator import Ensemble, Estimator
from qexp.networks.network import Branch, Network, Operation, initialise
from qexp.networks.transforms import Standardize
from qexp.rows.formats import FORMATS

FEATURES = [f"band_{index}" for index in range(10)]
GIGABYTE = 1e9
MILLIONS = 10

NETWORKS: list[tuple[str, int, int, list[tuple[str, dict[str, Any]]]]] = [
    ("55 networks 10-32-32-1", 55, 200_000, [("denses", {"filters": [32, 32, 1], "bias": True})]),
    ("5 networks 10-32-32-1", 5, 1_000_000, [("denses", {"filters": [32, 32, 1], "bias": True})]),
    ("5 of DL-IM's", 5, 20_000, [("one_d_cnn", {})]),
]
"""What they are called, how many, rows, operations. The second is less work than reading its rows
from text.
"""


@dataclass(frozen=True)
class Peak:
    rows: int
    megabytes: float
    seconds: float


def measure() -> list[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        compared = []
        for name, count, rows, operations in NETWORKS:
            ensemble, features = ensemble_of(count, operations), values(rows)
            model = model_of(ensemble)
            for ending in FORMATS:
                source, target = Path(folder) / f"rows{ending}", Path(folder) / f"estimates{ending}"
                write(source, features)
                compared.append(
                    at_least(
                        f"{rows:,} rows of {ending} by {name} over a bare pass",
                        lambda: model.predict(source, target, overwrite=True),  # noqa: B023
                        lambda: bare(model, features),  # noqa: B023
                        0.7,
                        repeats=5,
                    )
                )
        return [*compared, of_dlim()]


def of_dlim(count: int = 55, rows: int = 1024) -> Comparison:
    """The estimates of DL-IM's networks with mean and spread, against their forward passes alone;
    on one core.
    """
    ensemble = ensemble_of(count, [("one_d_cnn", {})])
    samples = {"reflectance": torch.from_numpy(values(rows))}

    @torch.no_grad()
    def passes() -> None:
        for batch in samples["reflectance"].split(256):
            for model in ensemble.models:
                model.network({"reflectance": batch})

    title = f"{rows:,} rows by {count} of DL-IM's over their forward passes, one core"
    with threads(1):
        return at_least(title, lambda: ensemble.estimated(samples), passes, 0.8, repeats=5)


def bare(model: RowModel, features: NDArray[np.float32]) -> None:
    """The same networks on all cores, a part of the rows on each: faster than all cores on every
    batch.
    """
    count = torch.get_num_threads()
    with (
        threads(count),
        ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        list(pool.map(model.estimate, np.array_split(features, count)))


def ensemble_of(count: int, operations: list[tuple[str, dict[str, Any]]]) -> Ensemble:
    """Networks that nobody trained: that makes them no slower."""
    table = BUILT_IN["modules"]
    models = []
    for seed in range(count):
        built = {
            name: Operation(
                lambda shape, name=name, parameters=parameters: table[name].build(
                    shape, **parameters
                )
            )
            for name, parameters in operations
        }
        network = Network(
            {"reflectance": (10,)},
            ["tio2"],
            built,
            [Branch(("reflectance",), ("tio2",), tuple(built))],
        )
        initialise(network, Seeds(seed))
        scaling = Standardize()
        scaling.fit(torch.from_numpy(values(55, seed)))
        models.append(Estimator(network, {"reflectance": scaling}))
    return Ensemble(models)


def model_of(ensemble: Ensemble) -> RowModel:
    def estimate(features: NDArray[np.float32]) -> dict[str, Estimated]:
        return with_ends(ensemble.estimated({"reflectance": torch.from_numpy(features)}), None)

    ranges = np.tile([0.03, 0.2], (len(FEATURES), 1))
    outputs = {"tio2": Number("tio2", "wt%")}
    return RowModel(features=FEATURES, ranges=ranges, outputs=outputs, estimate=estimate)


def values(rows: int, seed: int = 0) -> NDArray[np.float32]:
    return (
        np.random.default_rng(seed)
        .uniform(0.03, 0.2, (rows, len(FEATURES)))
        .astype(np.float32)
        .round(5)
    )


def table_of(features: NDArray[np.float32], start: int = 0) -> Any:
    import pyarrow as pa

    index = np.arange(start, start + len(features))
    return pa.table({"index": index, **{name: features[:, i] for i, name in enumerate(FEATURES)}})


def write(path: Path, features: NDArray[np.float32]) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    def netcdf() -> None:
        import xarray

        columns = table_of(features)
        arrays = {name: ("row", columns[name].to_numpy()) for name in columns.column_names}
        xarray.Dataset(arrays).to_netcdf(path, engine="h5netcdf")

    writers: dict[str, Callable[[], None]] = {
        ".csv": lambda: pyarrow.csv.write_csv(table_of(features), path),
        ".parquet": lambda: pyarrow.parquet.write_table(table_of(features), path),
        ".nc": netcdf,
    }
    writers[path.suffix]()


def peak() -> Peak:
    """Peak memory for ten million rows of text and one network, in a separate process, torch
    included.
    """
    import pyarrow as pa
    import pyarrow.csv

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        features = values(1_000_000)
        with pa.OSFile(str(path), "wb") as file:
            writer = pyarrow.csv.CSVWriter(file, table_of(features).schema)
            for million in range(MILLIONS):
                writer.write_table(table_of(features, million * len(features)))
            writer.close()
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.prediction", str(path)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return Peak(**json.loads(finished.stdout.splitlines()[-1]))


def main() -> None:
    """Estimate a file, and print the peak memory."""
    source = Path(sys.argv[1])
    model = model_of(ensemble_of(1, NETWORKS[0][3]))
    counts: list[int] = []
    took = seconds(
        lambda: counts.append(model.predict(source, source.with_name("estimates.csv")).rows)
    )
    # Not getrusage: it counts the memory of the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    most = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    print(json.dumps(asdict(Peak(counts[0], most, took))))


if __name__ == "__main__":
    main()

"""A folder or table of spectra is read alike for training and for prediction."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray
from pyarrow import csv, parquet

from qexp.base.outputs import Estimated, Number
from qexp.errors import QexpError
from qexp.kinds.spectra.prediction import SpectrumModel
from qexp.kinds.spectra.sources import SpectrumLayout
from qexp.rows.array_cache import VARIABLE
from tests.cores import CHANNELS, CORES, open_cores, spectra, table_of, write_folders

LAYOUT = SpectrumLayout(CHANNELS, "channel_", "core", "depth")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def folders(tmp_path) -> Path:
    return write_folders(tmp_path / "cores")


def trained(path: Path) -> dict[str, list]:
    """Names, cores, depths and the first count of all spectra."""
    data = open_cores(path, target=None)
    columns = {"name": data.names, "core": data.cores, "depth": data.depths}
    columns["made"] = data.read(data.rows)[:, 0]
    return {name: values.tolist() for name, values in columns.items()}


def predicted(path: Path, layout: SpectrumLayout = LAYOUT) -> dict[str, list]:
    model = SpectrumModel(
        layout=layout,
        outputs={"made": Number("made")},
        estimate=lambda counts: {"made": Estimated(counts[:, 0])},
    )
    made = model.predict(path, path.parent / "made.parquet", overwrite=True)
    table = parquet.read_table(made.target).rename_columns({"made_estimate": "made"})
    return {**table.to_pydict(), "warnings": list(made.warnings)}


def refused(path: Path, read) -> str:
    with pytest.raises(QexpError) as error:
        read(path)
    return str(error.value)


def apart(folders: Path) -> None:
    """No spectrum of val.csv is in info.csv."""
    info = folders / "train/info.csv"
    lines = info.read_text().splitlines()
    info.write_text("\n".join(line for line in lines if not line.startswith("C1")))


def replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "change",
    [
        apart,
        lambda path: (path / "train/spe/README.md").write_text("Measured in 2003."),
        lambda path: shutil.copy(path / "test/info.csv", path / "test/spe/info.csv"),
    ],
)
def test_lists_may_be_apart_and_notes_may_lie_beside_spectra(folders, change):
    change(folders)
    both = trained(folders)
    assert predicted(folders).items() >= both.items()
    assert len(both["name"]) == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: (path / "train/val.csv").write_text(""), "val.csv is empty"),
        (lambda path: (path / "train/val.csv").write_bytes(b"\xff"), "val.csv is not UTF-8 text"),
        (
            lambda path: (apart(path), replace(path / "train/val.csv", ",5,30", ",5")),
            "val.csv has lines without 4 columns: line 2 (3)",
        ),
        (
            lambda path: replace(path / "train/val.csv", "C1_0", "C9_0"),
            "train/val.csv names spectra that are not in",
        ),
        (
            lambda path: (
                shutil.copy(path / "test/info.csv", path / "test/val.csv")
                and (path / "test/info.csv").write_text("filename,core,depth\nD1_0.csv,D1,5\n")
            ),
            "test/info.csv does not name: D1_1.csv",
        ),
        (
            lambda path: replace(path / "train/info.csv", ".csv", ".txt"),
            "train/spe, whose files have names such as A1_0.csv: A1_0.txt",
        ),
        (lambda path: (path / "train/info.csv").write_text(""), "train/info.csv is empty"),
        (
            lambda path: replace(path / "test/info.csv", ",5,", ",deep,"),
            "cores: info.csv, column 'depth', has cells that are not numbers: 'deep' of D1_0.csv",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_the_same_words(folders, change, words):
    change(folders)
    in_training = refused(folders, trained)
    assert words in in_training
    assert refused(folders, predicted) == in_training


def test_what_is_wrong_with_a_table_is_said_in_the_same_words(folders, tmp_path):
    path = tmp_path / "all.csv"
    csv.write_csv(table_of(open_cores(folders)), path)
    replace(path, '"A1",5,', '"A1",deep,')
    in_training = refused(path, trained)
    assert in_training.startswith(f"{path}, column 'depth', has cells that are not numbers: 'deep'")
    assert refused(path, predicted) == in_training


@pytest.mark.heavy
def test_counts_alone_are_enough_for_prediction_and_lack_the_core_for_training(tmp_path):
    path = tmp_path / "all.nc"
    counts, _ = spectra(CORES["test"][0])
    xarray.Dataset({"channel_": (("row", "energy"), counts)}).to_netcdf(path, engine="h5netcdf")
    assert refused(path, trained).startswith(f"{path} has no column 'core'; there are none")
    assert predicted(path)["made"] == counts[:, 0].astype(np.float32).tolist()


@pytest.mark.heavy
def test_cores_and_depths_are_kept_as_they_are_written_or_left_empty_with_a_warning(folders):
    part = folders / "test"
    replace(part / "info.csv", "core,depth", "site,mid_depth_mm")
    replace(part / "info.csv", "D1,", "7.50,")
    layout = SpectrumLayout(CHANNELS, "channel_", "site", "mid_depth_mm")
    made = predicted(part, layout)
    assert made["core"] == made["site"] == ["7.50"] * 6
    assert made["depth"] == made["mid_depth_mm"] == [5, 15, 25, 35, 45, 55]
    made = predicted(part, SpectrumLayout(CHANNELS, "channel_", "site", "depth"))
    assert made["depth"] == [None] * 6
    assert made["warnings"] == [
        f"{part}: info.csv has no column 'depth', which holds the depth in the run's dataset:"
        " depths are left empty; rename 'mid_depth_mm' if it is that depth"
    ]


@pytest.mark.heavy
def test_a_table_with_a_column_like_the_core_is_doubted(folders, tmp_path):
    path = tmp_path / "all.csv"
    csv.write_csv(table_of(open_cores(folders)), path)
    replace(path, '"core"', '"core_name"')
    made = predicted(path)
    assert made["core"] == [None] * 30
    assert made["warnings"] == [
        f"{path} has no column 'core', which holds the core in the run's dataset: cores are left"
        " empty; rename 'core_name' if it is that core"
    ]

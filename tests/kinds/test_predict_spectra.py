"""`qexp predict` on spectra: what is read, what is written, and what is wrong with a folder or
table.
"""

import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import xarray

from qexp.base.outputs import Estimated, Number
from qexp.errors import NotFoundError, QexpError
from qexp.kinds.options import PredictOptions
from qexp.kinds.spectra import prediction
from qexp.kinds.spectra.prediction import SpectrumModel, Thinned, targets
from qexp.kinds.spectra.sources import SpectrumLayout
from tests.conftest import read_estimates

CHANNELS = 16
COUNT = 150
SPECTRA = np.random.default_rng(5).poisson(40, (COUNT, CHANNELS))
NAMES = [f"s_{index:03d}.csv" for index in range(COUNT)]
CORES = [f"core_{index // 30}" for index in range(COUNT)]
DEPTHS = [10.0 * (index % 30) for index in range(COUNT)]


def model_of(**changes):
    """The mean count of the first half of the channels."""
    parts = {
        "layout": SpectrumLayout(CHANNELS, "channel_", "core", "depth"),
        "outputs": {"toc": Number("toc", "wt%")},
        "estimate": lambda counts: {"toc": Estimated(counts[:, : CHANNELS // 2].mean(axis=1))},
        "origin": {"run": "toc_0", "digest": "ab" * 32, "caution": ""},
    }
    return SpectrumModel(**{**parts, **changes})


EXPECTED = SPECTRA[:, : CHANNELS // 2].mean(axis=1).astype(np.float32)


def write_spectra(folder: Path, rows=range(COUNT), info=True) -> Path:
    """`spe/` and `info.csv`."""
    (folder / "spe").mkdir(parents=True)
    for row in rows:
        (folder / "spe" / NAMES[row]).write_text("\n".join(map(str, SPECTRA[row])) + "\n")
    if info:
        lines = [
            "filename,core,depth,voltage",
            *(f"{NAMES[row]},{CORES[row]},{DEPTHS[row]:g},10" for row in rows),
        ]
        (folder / "info.csv").write_text("\n".join(lines) + "\n")
    return folder


def columns() -> dict[str, object]:
    counts = {f"channel_{channel}": SPECTRA[:, channel] for channel in range(CHANNELS)}
    return {"filename": NAMES, "core": CORES, "depth": DEPTHS, "voltage": [10] * COUNT, **counts}


@pytest.fixture
def folder(tmp_path):
    return write_spectra(tmp_path / "new")


@pytest.mark.heavy
def test_every_spectrum_of_a_folder_gets_a_row_in_the_order_of_its_list(folder, tmp_path):
    info = folder / "info.csv"
    head, *lines = info.read_text().splitlines()
    info.write_text("\n".join([head, *reversed(lines)]))
    made = model_of().predict(folder, tmp_path / "made.csv")
    rows = read_estimates(tmp_path / "made.csv")
    assert list(rows[0]) == ["name", "core", "depth", "voltage", "toc_estimate"]
    assert {row["voltage"] for row in rows} == {"10"}
    assert [(row["name"], row["core"], float(row["depth"])) for row in rows] == list(
        zip(NAMES, CORES, DEPTHS, strict=True)
    )[::-1]
    assert [np.float32(row["toc_estimate"]) for row in rows] == EXPECTED[::-1].tolist()
    assert (made.spectra, made.missing_count, made.files) == (
        COUNT,
        0,
        [tmp_path / "made.csv", tmp_path / "made.png"],
    )
    assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.heavy
def test_without_a_list_spectra_come_by_name_and_cores_and_depths_are_left_open(tmp_path):
    inside = write_spectra(tmp_path / "new", info=False)
    plain = inside / "spe"
    for source, target in ((inside, "a.csv"), (plain, "b.csv")):
        model_of().predict(source, tmp_path / target)
        rows = read_estimates(tmp_path / target)
        assert [row["name"] for row in rows] == NAMES
        assert {(row["core"], row["depth"]) for row in rows} == {("", "")}
        assert [np.float32(row["toc_estimate"]) for row in rows] == EXPECTED.tolist()


INFO = [
    "filename,site,depth,mid_depth_mm,core_given,core,part,toc_estimate,voltage,remark",
    "s_000.csv,S1,,5.5,x,old 1,007,1.5,10,",
    "s_001.csv,S1,3,15,y,old 2,008,NA,30,turbidite",
    's_002.csv,S2,4,25.5,z,old 3,009,2.25,30,"grey, soft"',
]
"""Columns with names that predictions use: `depth` is not the depth, and `core` not the core, of
these spectra.
"""


def described(tmp_path: Path) -> Path:
    folder = write_spectra(tmp_path / "described", range(3))
    (folder / "info.csv").write_text("\n".join(INFO) + "\n")
    return folder


def described_table(path: Path) -> Path:
    """The same in one table."""
    counts = [",".join(map(str, SPECTRA[row])) for row in range(3)]
    head = ",".join(f"channel_{channel}" for channel in range(CHANNELS))
    lines = [f"{line},{end}" for line, end in zip(INFO, [head, *counts], strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


ELSEWHERE = SpectrumLayout(CHANNELS, "channel_", "site", "mid_depth_mm")


@pytest.mark.parametrize(
    "source", [described, lambda tmp_path: described_table(tmp_path / "table.csv")]
)
def test_all_columns_of_the_list_come_along_and_those_whose_names_are_taken_are_renamed(
    tmp_path, source
):
    model_of(layout=ELSEWHERE).predict(source(tmp_path), tmp_path / "made.csv")
    assert [list(row.items()) for row in read_estimates(tmp_path / "made.csv")] == [
        [
            ("name", f"s_00{row}.csv"),
            ("core", site),
            ("depth", depth),
            ("site", site),
            ("depth_given", given),
            ("mid_depth_mm", depth),
            ("core_given", letter),
            ("core_given_given", old),
            ("part", part),
            ("toc_estimate_given", other),
            ("voltage", voltage),
            ("remark", remark),
            ("toc_estimate", read_estimates(tmp_path / "made.csv")[row]["toc_estimate"]),
        ]
        for row, (site, depth, given, letter, old, part, other, voltage, remark) in enumerate(
            [
                ("S1", "5.5", "", "x", "old 1", "007", "1.5", "10", ""),
                ("S1", "15", "3", "y", "old 2", "008", "", "30", "turbidite"),
                ("S2", "25.5", "4", "z", "old 3", "009", "2.25", "30", "grey, soft"),
            ]
        )
    ]
    made = [np.float32(row["toc_estimate"]) for row in read_estimates(tmp_path / "made.csv")]
    assert made == EXPECTED[:3].tolist()


@pytest.mark.heavy
def test_columns_without_a_name_and_ratios_have_names_that_every_format_takes(tmp_path):
    folder = write_spectra(tmp_path / "new", range(2))
    lines = [
        "filename,core,depth,Fe/Ca,,voltage",
        f"{NAMES[0]},A,1,0.5,1,10",
        f"{NAMES[1]},A,2,0.25,2,10",
    ]
    (folder / "info.csv").write_text("\n".join(lines) + "\n")
    readers = {"csv": pandas.read_csv, "parquet": pandas.read_parquet, "nc": xarray.load_dataset}
    for ending, reader in readers.items():
        made = reader(model_of().predict(folder, tmp_path / f"made.{ending}").target)
        assert made["Fe_Ca" if ending == "nc" else "Fe/Ca"].values.tolist() == [0.5, 0.25]
        assert made["unnamed"].values.tolist() == [1, 2]


def test_numbers_stay_numbers_where_the_format_has_them(tmp_path):
    model_of(layout=ELSEWHERE).predict(described(tmp_path), tmp_path / "made.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "made.parquet")
    types = {
        "depth_given": "int64",
        "mid_depth_mm": "double",
        "part": "string",
        "toc_estimate_given": "double",
        "voltage": "int64",
    }
    assert {field.name: str(field.type) for field in table.schema if field.name in types} == types
    assert table["depth_given"].to_pylist() == [None, 3, 4]


@pytest.mark.heavy
def test_parts_of_a_folder_are_told_apart_and_have_the_columns_of_both_empty_where_a_part_has_none(
    tmp_path,
):
    write_spectra(tmp_path / "all" / "train", range(100))
    info = write_spectra(tmp_path / "all" / "test", range(100, COUNT)) / "info.csv"
    info.write_text(
        "filename,core,depth,year\n" + "".join(f"{name},C,1,2003\n" for name in NAMES[100:])
    )
    model_of().predict(tmp_path / "all", tmp_path / "made.csv")
    rows = read_estimates(tmp_path / "made.csv")
    assert [row["name"] for row in rows] == NAMES
    told = [(row["part"], row["voltage"], row["year"]) for row in rows]
    assert told == [("train", "10", "")] * 100 + [("test", "", "2003")] * 50


def write_netcdf(variables: dict[str, object], path: Path) -> None:
    xarray.Dataset(variables).to_netcdf(path, engine="h5netcdf")


TABLES = {
    "rows.csv": lambda path: pyarrow.csv.write_csv(pa.table(columns()), path),
    "rows.parquet": lambda path: pyarrow.parquet.write_table(
        pa.table(columns()), path, row_group_size=37
    ),
    "rows.nc": lambda path: write_netcdf(
        {name: ("row", values) for name, values in columns().items()}, path
    ),
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_the_same_as_a_folder(folder, tmp_path, name):
    TABLES[name](tmp_path / name)
    model_of().predict(folder, tmp_path / "of_folder.csv")
    model_of().predict(tmp_path / name, tmp_path / "of_table.csv")
    assert (tmp_path / "of_table.csv").read_bytes() == (tmp_path / "of_folder.csv").read_bytes()


@pytest.mark.heavy
def test_netcdf_may_have_all_spectra_in_one_variable(tmp_path):
    counts = (("sample", "channel"), SPECTRA)
    write_netcdf(
        {"counts": counts, "core": ("sample", CORES), "depth": ("sample", DEPTHS)},
        tmp_path / "image.nc",
    )
    model = model_of(layout=SpectrumLayout(CHANNELS, "counts", "core", "depth"))
    model.predict(tmp_path / "image.nc", tmp_path / "made.csv")
    rows = read_estimates(tmp_path / "made.csv")
    assert [row["core"] for row in rows] == CORES
    assert [np.float32(row["toc_estimate"]) for row in rows] == EXPECTED.tolist()
    with pytest.raises(QexpError, match="'counts' has 16 counts in a row, not 32"):
        model_of(layout=SpectrumLayout(32, "counts", "core", None)).predict(
            tmp_path / "image.nc", tmp_path / "no.csv"
        )


@pytest.mark.heavy
def test_a_network_sees_the_same_batches_however_many_spectra_are_in_memory(folder, tmp_path):
    batches = {chunk: [] for chunk in (1, 65, 100_000)}
    for chunk, seen in batches.items():
        model = model_of(
            estimate=lambda counts: (
                seen.append(counts.tobytes()) or {"toc": Estimated(counts[:, 0])}  # noqa: B023
            )
        )
        model.predict(folder, tmp_path / f"{chunk}.csv", chunk=chunk)
    assert batches[1] == batches[65] == batches[100_000]


@pytest.mark.heavy
def test_units_origin_and_caution_are_in_every_file(folder, tmp_path):
    model = model_of(
        origin={"run": "toc_0", "digest": "ab", "caution": "test spectra were trained on"}
    )
    for ending in ("csv", "parquet", "nc"):
        model.predict(folder, tmp_path / f"made.{ending}")
    assert {row["caution"] for row in read_estimates(tmp_path / "made.csv")} == {
        "test spectra were trained on"
    }
    table = pyarrow.parquet.read_table(tmp_path / "made.parquet")
    assert table.schema.field("toc_estimate").metadata == {b"unit": b"wt%"}
    assert table.schema.field("depth").metadata is None
    assert table.schema.metadata[b"run"] == b"toc_0"
    assert set(table["caution"].to_pylist()) == {"test spectra were trained on"}
    with xarray.open_dataset(tmp_path / "made.nc", engine="h5netcdf") as data:
        assert (data.attrs["caution"], data.attrs["run"]) == (
            "test spectra were trained on",
            "toc_0",
        )
        assert (data["toc_estimate"].attrs["units"], data["core"].values[0]) == ("wt%", "core_0")
    assert json.loads((tmp_path / "made.csv.json").read_text())["origin"]["digest"] == "ab"


@pytest.mark.heavy
def test_a_spectrum_whose_counts_are_all_the_same_has_no_estimate_and_is_named(folder, tmp_path):
    (folder / "spe" / NAMES[3]).write_text("0\n" * CHANNELS)
    made = model_of().predict(folder, tmp_path / "made.csv")
    assert read_estimates(tmp_path / "made.csv")[3]["toc_estimate"] == ""
    assert made.remarks == [
        "150 spectra",
        f"1 without an estimate, because their counts are all the same ({NAMES[3]})",
    ]


def test_files_that_are_no_spectra_are_named_and_nothing_is_left(folder, tmp_path):
    for name in NAMES[10:20]:
        (folder / "spe" / name).write_text("1\n" * 15)
    with pytest.raises(QexpError) as caught:
        model_of().predict(folder, tmp_path / "made.csv")
    message = str(caught.value)
    assert message.startswith(
        f"{folder / 'spe'} has files that are not spectra of 16 counts: {NAMES[10]} (it has 15"
    )
    assert [name for name in NAMES if name in message] == NAMES[10:15]
    assert message.endswith(" and 5 more")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_files_without_a_row_and_rows_without_a_file_are_named(folder, tmp_path):
    (folder / "spe" / NAMES[2]).rename(folder / "spe" / "other.csv")
    with pytest.raises(QexpError) as caught:
        model_of().predict(folder, tmp_path / "made.csv")
    missing, extra = str(caught.value).splitlines()
    assert (
        missing
        == f"{folder / 'info.csv'} names spectra that are not in {folder / 'spe'}: {NAMES[2]}"
    )
    assert (
        extra
        == f"{folder / 'spe'} holds spectra that {folder / 'info.csv'} does not name: other.csv"
    )


@pytest.mark.heavy
def test_spectra_that_only_val_csv_names_are_estimated_after_the_others(folder, tmp_path):
    head, *lines = (folder / "info.csv").read_text().splitlines()
    (folder / "info.csv").write_text("\n".join([head, *lines[::2]]))
    (folder / "val.csv").write_text("\n".join([head, *lines[1::2], lines[0]]))
    assert model_of().predict(folder, tmp_path / "made.csv").spectra == COUNT
    rows = read_estimates(tmp_path / "made.csv")
    assert [row["name"] for row in rows] == NAMES[::2] + NAMES[1::2]
    assert [float(row["depth"]) for row in rows] == DEPTHS[::2] + DEPTHS[1::2]


@pytest.mark.heavy
def test_a_depth_under_another_name_is_left_open_with_a_warning(folder, tmp_path):
    made = model_of(layout=SpectrumLayout(CHANNELS, "", "core", "deep")).predict(
        folder, tmp_path / "a.csv"
    )
    assert made.warnings == [
        f"{folder}: info.csv has no column 'deep', which holds the depth in the run's dataset:"
        " depths are left empty; rename 'depth' if it is that depth"
    ]
    assert {row["depth"] for row in read_estimates(tmp_path / "a.csv")} == {""}
    table = tmp_path / "rows.csv"
    TABLES["rows.csv"](table)
    for depth, count in (("deep", 1), ("depth", 0), (None, 0)):
        layout = SpectrumLayout(CHANNELS, "channel_", "core", depth)
        assert (
            len(model_of(layout=layout).predict(table, tmp_path / f"of_{depth}.csv").warnings)
            == count
        )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("core,", "cor,"), "no column 'core'; did you mean 'cor'"),
        (
            lambda text: text.replace(",10,10\n", ",deep,10\n", 1),
            "cells that are not numbers: 'deep' of s_001.csv",
        ),
        (
            lambda text: text + 'x"y,"a',
            "info.csv: row 152: a quotation mark is opened here and never closed",
        ),
    ],
)
def test_a_list_that_is_wrong_is_told(folder, tmp_path, change, complaint):
    info = folder / "info.csv"
    info.write_text(change(info.read_text()))
    with pytest.raises(QexpError, match=complaint):
        model_of().predict(folder, tmp_path / "made.csv")


def test_a_table_that_is_wrong_is_told(tmp_path):
    def table(name="rows.parquet", **changes):
        kept = {
            key: values for key, values in {**columns(), **changes}.items() if values is not None
        }
        pyarrow.parquet.write_table(pa.table(kept), tmp_path / name)
        return tmp_path / name

    def complaint_of(source, model):
        with pytest.raises(QexpError) as caught:
            model.predict(source, tmp_path / "made.csv")
        assert not (tmp_path / "made.csv").exists()
        return str(caught.value)

    said = complaint_of(table(channel_3=np.where(np.arange(COUNT) % 10 == 4, -2, 5)), model_of())
    assert said.startswith(
        f"{tmp_path / 'rows.parquet'} has spectra with invalid counts: spectrum 5 (-2 in channel 3"
    )
    assert said.endswith(" and 10 more")
    other = model_of(layout=SpectrumLayout(2048, "counts_", "core", "depth"))
    assert "has 0 columns counts_0, counts_1, … of counts, not 2048" in complaint_of(table(), other)
    lone = tmp_path / "lone.csv"
    lone.write_text("5\n" * 2048)
    assert len(complaint_of(lone, other)) < 600
    assert "'deep'" in complaint_of(table(depth=["deep"] * COUNT), model_of())


def test_where_estimates_cannot_go_is_told_first(folder, tmp_path):
    with pytest.raises(NotFoundError, match="no such file or folder"):
        targets(tmp_path / "nothing", tmp_path / "made.csv")
    with pytest.raises(QexpError, match=r"must end in \.csv, \.parquet, \.nc"):
        targets(folder, tmp_path / "made.txt")
    (tmp_path / "out").mkdir()
    assert targets(folder, tmp_path / "out") == [(folder, tmp_path / "out" / "new.csv")]
    with pytest.raises(QexpError, match="among the spectra"):
        model_of().predict(folder, folder / "spe" / "made.csv")
    with pytest.raises(QexpError, match="out holds no spectra"):
        model_of().predict(tmp_path / "out", tmp_path / "made.csv")
    with pytest.raises(QexpError, match="chunk=0"):
        PredictOptions(folder, tmp_path / "made.csv", chunk=0)


def test_of_very_many_spectra_every_other_one_is_kept_for_the_figure(monkeypatch):
    monkeypatch.setattr(prediction, "DRAWN_POINTS", 40)
    kept = Thinned()
    for start in range(0, COUNT, 64):
        cores, depths = CORES[start : start + 64], np.array(DEPTHS[start : start + 64])
        kept.add(cores, depths, EXPECTED[start : start + 64, None])
    assert kept.cores == CORES[::4]
    assert kept.numbers == list(zip(DEPTHS[::4], EXPECTED[::4].tolist(), strict=True))

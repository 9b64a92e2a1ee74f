import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
import xarray
from pyarrow import csv, parquet

from qexp.base.seeds import Seeds
from qexp.errors import DatasetError
from qexp.kinds.spectra import dataset as spectra_dataset
from qexp.kinds.spectra.dataset import SpectrumSamples
from qexp.kinds.spectra.files import Findings, SpectrumReader, counts_in, unit_in
from qexp.metrics.splits import SPLITS, SplitError
from qexp.rows.array_cache import THOROUGHLY, VARIABLE, cache_folder, damaged, keep_note, note
from tests.cores import (
    CHANNELS,
    CORES,
    PATCH_SIZE,
    SPECTRA,
    TARGET,
    open_cores,
    spectra,
    table_of,
    write_folders,
    write_netcdf,
)

PATCHES = CHANNELS // PATCH_SIZE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folders(tmp_path) -> Path:
    return write_folders(tmp_path / "cores")


def arrays() -> dict[str, int]:
    """The arrays that are kept, and which file each is."""
    return {path.name: path.stat().st_ino for path in (cache_folder() / "arrays").glob("*.f32")}


def all_counts(dataset):
    """(row, channel)"""
    return dataset.read(dataset.rows)


def values_of(dataset, name):
    """A property of all spectra, by its name; `targets`: the only number that is measured."""
    return dataset.measured[dataset.target] if name == "targets" else getattr(dataset, name)


def refused(path, **changes) -> str:
    with pytest.raises(DatasetError) as error:
        open_cores(path, **changes)
    return str(error.value)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# What is read


def test_spectra_targets_cores_and_depths_are_those_of_the_files_in_the_order_of_info_csv(folders):
    dataset = open_cores(folders, energy=[0.1, 0.2], units={TARGET: "wt%"})
    cores = [*CORES["train"], *CORES["validation"], *CORES["test"]]
    counts, targets = (np.concatenate(parts) for parts in zip(*map(spectra, cores), strict=True))
    assert all_counts(dataset).dtype == np.float32
    assert np.array_equal(all_counts(dataset), counts)
    assert np.array_equal(dataset.measured[TARGET], targets)
    assert dataset.cores.tolist() == [core for core in cores for _ in range(SPECTRA)]
    assert dataset.names.tolist() == [
        f"{core}_{number}.csv" for core in cores for number in range(SPECTRA)
    ]
    assert dataset.depths.tolist() == [5, 15, 25, 35, 45, 55] * len(cores)
    assert dataset.part.tolist() == ["train"] * 18 + ["validation"] * 6 + ["test"] * 6
    assert {name: set(values) for name, values in dataset.metadata.items()} == {"voltage": {"30"}}
    assert dataset.shapes() == {"spectrum": (CHANNELS,), "mask": (PATCHES,), TARGET: (1,)}
    assert dataset.units == {"spectrum": "counts", "mask": "", "depth": "", TARGET: "wt%"}
    assert (len(dataset), dataset.rows.tolist()) == (30, list(range(30)))
    assert dataset.warnings == []


def test_the_hash_of_a_spectrum_is_that_of_its_counts_whatever_their_form(tmp_path):
    dataset = open_cores(write_folders(tmp_path / "lines"))
    expected = [
        hashlib.sha256(row.astype("<f4").tobytes()).hexdigest()[:24] for row in all_counts(dataset)
    ]
    assert dataset.hashes.tolist() == expected
    for name, separator in (
        ("commas", ","),
        ("spaces", "  "),
        ("windows", "\r\n"),
        ("both", ",\n"),
        ("points", ".0 "),
    ):
        path = write_folders(tmp_path / name, separator=separator)
        assert open_cores(path).hashes.tolist() == expected


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ("1 2\n3", [1, 2, 3]),
        ("\ufeff1,2,3", [1, 2, 3]),
        ("-0 0.0\t1e3\n", [0, 0, 1000]),
        ("+7 .5 2.", [7, 0.5, 2]),
        ("99999999999999999999 0 1", [1e20, 0, 1]),
    ],
)
def test_counts_may_be_written_in_many_ways(written, counts):
    found = counts_in(written.encode(), 3)
    assert found.tolist() == np.array(counts, dtype=np.float32).tolist()
    assert not np.signbit(found).any()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("1 2", "it has 2 numbers, not 3"),
        ("1 2 3 4", "it has 4 numbers, not 3"),
        ("1 x 3", "'x' in channel 1 is not a number"),
        ("1 2 3x", "'3x' in channel 2 is not a number"),
        ("1 2_0 3", "'2_0' in channel 1 is not a number"),
        ("1 -2 3", "-2 in channel 1 is negative"),
        ("1 nan 3", "channel 1 is not a finite number"),
        ("1 2 inf", "channel 2 is not a finite number"),
        ("1 2 1e39", "channel 2 is not a finite number"),
        ("1 2 \u00b53", "in channel 2 is not a number"),
    ],
)
def test_what_is_no_spectrum_is_refused_with_what_is_wrong(written, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        counts_in(written.encode(), 3)


def test_files_that_are_no_spectra_and_files_that_are_gone_are_named_together(tmp_path):
    (tmp_path / "one.csv").write_text("1 2 x")
    findings = Findings()
    SpectrumReader(3, None).counts_of([tmp_path / "one.csv", tmp_path / "gone.csv"], findings)
    with pytest.raises(DatasetError) as error:
        findings.refuse()
    assert "one.csv ('x' in channel 2 is not a number)" in str(error.value)
    assert "cannot be read: gone.csv (No such file or directory)" in str(error.value)


def test_depths_that_are_not_told_are_not_numbers_and_a_test_part_is_not_required(tmp_path):
    path = write_folders(tmp_path / "cores", {"train": ("A1",)})
    rewrite(path / "train" / "info.csv", ",5,30", ",,30")
    dataset = open_cores(path)
    assert np.flatnonzero(np.isnan(dataset.depths)).tolist() == [0]
    assert set(dataset.part) == {"train"}
    assert np.isnan(open_cores(path, depth=None).depths).all()
    assert "depth" in open_cores(path, depth=None).metadata


# What is kept


def test_a_second_start_opens_no_spectrum_and_finds_the_same(folders):
    first = open_cores(folders)
    read = {path: path.stat().st_mtime_ns for path in folders.rglob("*.csv")}
    for path in read:  # other counts behind an unchanged size and time: who reads them, sees them
        if path.parent.name == "spe":
            path.write_bytes(path.read_bytes()[::-1].replace(b"\n", b"", 1) + b"\n")
            os.utime(path, ns=(path.stat().st_atime_ns, read[path]))
    second = open_cores(folders)
    assert np.array_equal(all_counts(second), all_counts(first))
    assert second.fingerprint == first.fingerprint
    for name in ("names", "cores", "part", "depths", "targets", "hashes"):
        assert np.array_equal(values_of(second, name), values_of(first, name))


def test_files_that_were_touched_or_copied_elsewhere_find_the_array_that_is_there(
    folders, tmp_path
):
    first, cached = open_cores(folders), arrays()
    for path in folders.rglob("*.csv"):
        path.touch()
    shutil.copytree(folders, tmp_path / "elsewhere")
    for path in (folders, tmp_path / "elsewhere"):
        again = open_cores(path)
        assert again.fingerprint == first.fingerprint
        assert np.array_equal(all_counts(again), all_counts(first))
    assert arrays() == cached
    assert len(cached) == 1
    assert not list((cache_folder() / "arrays").glob(".*"))


def test_targets_that_change_are_read_again_and_the_spectra_are_kept_once(folders):
    first, cached = open_cores(folders), arrays()
    (folders / "train" / "target" / "A1_0.csv").write_text("77.5\n")
    second = open_cores(folders)
    assert second.measured[TARGET][0] == 77.5
    assert second.fingerprint != first.fingerprint
    assert arrays() == cached
    assert open_cores(folders, target=None).measured == {}
    assert arrays() == cached


@pytest.mark.parametrize(
    "change",
    [
        lambda path: rewrite(path / "train" / "spe" / "A1_3.csv", "\n1", "\n2"),
        lambda path: rewrite(path / "test" / "info.csv", "D1_0.csv,D1", "D1_0.csv,D2"),
        lambda path: rewrite(path / "test" / "info.csv", "D1,5,", "D1,6,"),
        lambda path: (path / "train" / "target" / "B1_3.csv").write_text("0.123"),
        lambda path: rewrite(path / "train" / "val.csv", "C1_0.csv,C1,5,30\n", ""),
        lambda path: shutil.rmtree(path / "test"),
    ],
)
def test_whatever_changes_in_the_files_is_seen_and_changes_the_fingerprint(folders, change):
    before = open_cores(folders).fingerprint
    open_cores(folders, fingerprint=before)
    change(folders)
    assert open_cores(folders).fingerprint != before
    assert "has changed: the SHA-256 of its spectra is now" in refused(folders, fingerprint=before)


def test_an_array_that_was_deleted_cut_off_or_changed_is_made_again(folders, monkeypatch):
    first = open_cores(folders)
    [path] = (cache_folder() / "arrays").glob("*.f32")

    def changed_unseen():
        status = path.stat()
        with path.open("r+b") as file:
            file.write(b"\x01\x02")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert list(damaged()) == [path]  # of which `qexp doctor` tells
        monkeypatch.setenv(THOROUGHLY, "1")  # as `qexp verify` does

    whole = path.read_bytes()
    others = (
        lambda content=content: path.write_bytes(content)
        for content in (whole[:-4], bytes(len(whole)))
    )
    for spoil in (path.unlink, *others, changed_unseen):
        spoil()
        again = open_cores(folders)
        every = np.concatenate([spectra(core)[0] for of in CORES.values() for core in of])
        assert np.array_equal(all_counts(again), every)
        assert again.fingerprint == first.fingerprint


def test_a_note_of_the_cache_that_is_damaged_counts_for_nothing():
    keep_note(["key"], {"sha256": "1"})
    [path] = (cache_folder() / "arrays").glob("*.note")
    whole = path.read_bytes()
    for content in (b"[]", b"5", b"{}", b"", whole[:-3], whole.replace(b'"1"', b'"2"')):
        path.write_bytes(content)
        assert note(["key"]) is None
    path.unlink()
    os.mkfifo(path)
    assert note(["key"]) is None
    keep_note(["key"], {"sha256": "1"})
    assert note(["key"]) == {"sha256": "1"}


OPEN = """
import sys
from pathlib import Path
from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.spec.kinds import filled_in
document = {"type": "spectra", "channels": 64, "patch_size": 8}
dataset = SpectraDataset(Path(sys.argv[1]), filled_in(document))
print(dataset.fingerprint, int(dataset.read(dataset.rows).sum()))
"""


def opening(path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.heavy
def test_two_processes_that_start_at_once_both_find_everything(folders):
    both = [opening(folders) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    dataset = open_cores(folders, target=None)
    assert outputs[0].split() == [dataset.fingerprint, str(int(all_counts(dataset).sum()))]
    assert len(arrays()) == 1


@pytest.mark.heavy
def test_what_is_left_by_a_process_that_was_killed_in_reading_does_no_harm(tmp_path):
    path = write_folders(tmp_path / "cores", {"train": ("A1",)}, count=2000, labelled=False)
    process = opening(path)
    folder, deadline = cache_folder() / "arrays", time.monotonic() + 60
    while not list(folder.glob("*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    dataset = open_cores(path, target=None)
    assert np.array_equal(all_counts(dataset), spectra("A1", 2000)[0])


# Tables


def as_table(path: Path) -> pyarrow.Table:
    return table_of(open_cores(path))


def replaced(
    table: pyarrow.Table, column: str, values: list, name: str | None = None
) -> pyarrow.Table:
    """A table with other values in a column, and perhaps another name of it."""
    return table.set_column(table.column_names.index(column), name or column, pyarrow.array(values))


def write_flat_netcdf(table: pyarrow.Table, path: Path) -> None:
    variables = {name: ("row", table[name].to_pylist()) for name in table.column_names}
    xarray.Dataset(variables).to_netcdf(path, engine="h5netcdf")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("all.csv", csv.write_csv),
        ("all.parquet", parquet.write_table),
        ("all.nc", write_netcdf),
        ("flat.nc", write_flat_netcdf),
    ],
)
def test_a_table_with_a_spectrum_per_row_is_the_same_dataset(folders, tmp_path, name, write):
    of_folders = open_cores(folders)
    cached = arrays()
    write(as_table(folders), tmp_path / name)
    of_table = open_cores(tmp_path / name)
    assert np.array_equal(all_counts(of_table), all_counts(of_folders))
    for attribute in ("names", "cores", "part", "depths", "targets", "hashes"):
        assert np.array_equal(values_of(of_table, attribute), values_of(of_folders, attribute)), (
            attribute
        )
    assert of_table.metadata["voltage"].tolist() == of_folders.metadata["voltage"].tolist()
    assert arrays() == cached
    assert open_cores(tmp_path / name).fingerprint == of_table.fingerprint


def test_spectra_of_a_table_without_names_and_parts_are_numbered_and_cores_stay_as_they_are_written(
    folders, tmp_path
):
    cores = ["1.10", "1.1", "007"] * 10
    table = replaced(as_table(folders).drop_columns(["filename", "part"]), "core", cores, "hole")
    csv.write_csv(table, tmp_path / "all.csv")
    dataset = open_cores(tmp_path / "all.csv", core="hole")
    assert dataset.names.tolist() == [str(number) for number in range(1, 31)]
    assert set(dataset.part) == {"train"}
    assert dataset.cores.tolist() == cores


@pytest.mark.parametrize("name", ["all.csv", "all.parquet", "all.nc"])
@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("channel_9", 4, -3.0, "spectrum 5 (-3 in channel 9 is negative)"),
        ("channel_9", 4, float("nan"), "channel 9 is not a finite number"),
        (TARGET, 2, float("inf"), "not finite numbers: spectrum 3 ('inf')"),
        (
            TARGET,
            2,
            float("nan"),
            'lacks the numbers of spectra, which "missing": "drop" would leave out: spectrum 3',
        ),
        ("part", 2, "training", "'training' of spectrum 3"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(folders, tmp_path, name, column, row, value, words):
    table = as_table(folders)
    values = table[column].to_pylist()
    values[row] = value
    writers = {"all.csv": csv.write_csv, "all.parquet": parquet.write_table, "all.nc": write_netcdf}
    writers[name](replaced(table, column, values), tmp_path / name)
    findings = refused(tmp_path / name)
    assert words in findings
    assert name in findings


def test_columns_that_a_table_lacks_are_told_with_what_it_has(folders, tmp_path):
    table = as_table(folders)
    csv.write_csv(table, tmp_path / "all.csv")
    assert "did you mean 'toc'" in refused(tmp_path / "all.csv", target="tok")
    too_many = "has 64 columns channel_0, channel_1, … of counts, not 63"
    assert too_many in refused(tmp_path / "all.csv", channels=63, patch_size=9)
    assert "has 0 columns count_0" in refused(tmp_path / "all.csv", columns="count_")
    assert "did you mean 'core'" in refused(tmp_path / "all.csv", core="cores")
    csv.write_csv(table.slice(0, 0), tmp_path / "none.csv")
    assert "no rows" in refused(tmp_path / "none.csv")


# Splits


def test_columns_for_splits_are_core_part_name_and_the_metadata(folders):
    dataset = open_cores(folders)
    assert dataset.column("core").tolist() == dataset.cores.tolist()
    assert dataset.column("part").tolist() == dataset.part.tolist()
    assert dataset.column("name").tolist() == dataset.names.tolist()
    assert set(dataset.column("voltage")) == {"30"}
    with pytest.raises(SplitError, match="did you mean 'voltage'"):
        dataset.column("voltages")


def test_the_parts_of_the_folders_are_a_split(folders):
    dataset = open_cores(folders)
    [fold] = SPLITS["parts"].build().folds(dataset.rows, dataset.column, np.random.default_rng(0))
    assert set(dataset.cores[fold.test]) == {"D1"}
    [inner] = SPLITS["parts"].build().folds(fold.train, dataset.column, np.random.default_rng(0))
    assert set(dataset.cores[inner.test]) == {"C1"}


# What is refused, and what is only said


def spoil(folders: Path) -> None:
    """Three files that are no spectra, each in its own way."""
    for number, content in enumerate(("1\n2\n3\n", "-4\n" * CHANNELS, "five\n" * CHANNELS)):
        (folders / "train" / "spe" / f"A1_{number}.csv").write_text(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            spoil,
            [
                "A1_0.csv (it has 3",
                "A1_1.csv (-4 in",
                "A1_2.csv ('five' in channel 0 is not a number)",
            ],
        ),
        (
            lambda path: (path / "train/spe/A1_0.csv").unlink(),
            ["info.csv names spectra that are not in", "A1_0.csv"],
        ),
        (
            lambda path: (
                (path / "train/spe/gone.csv").symlink_to("nowhere")
                or (path / "test/spe/D1_3.csv").unlink()
            ),
            ["info.csv names spectra that are not in", "D1_3.csv"],
        ),
        (
            lambda path: (path / "test/spe/new.csv").write_text("1 " * 64),
            ["that", "info.csv does not name: new.csv"],
        ),
        (lambda path: (path / "train/target/A2_1.csv").unlink(), ["lacks the numbers", "A2_1.csv"]),
        (
            lambda path: (path / "train/target/A2_1.csv").write_text("1 2"),
            ["not one finite number: A2_1.csv ('1 2')"],
        ),
        (lambda path: (path / "train/target/A2_1.csv").write_text(""), ["leave out: A2_1.csv"]),
        (lambda path: (path / "train/target/A2_1.csv").write_text("nan"), ["leave out: A2_1.csv"]),
        (
            lambda path: rewrite(path / "train/val.csv", "C1_0.csv", "C9_0.csv"),
            ["val.csv names", "C9_0.csv"],
        ),
        (
            lambda path: rewrite(path / "train/info.csv", "A1_1", "A1_0"),
            ["twice: A1_0.csv (line 3)", "A1_1.csv"],
        ),
        (
            lambda path: rewrite(path / "train/info.csv", ",5,30", ",5"),
            ["without 4 columns: line 2 (3)"],
        ),
        (
            lambda path: rewrite(path / "train/info.csv", ",5,30", ",deep,30"),
            ["'deep' of A1_0.csv"],
        ),
        (
            lambda path: rewrite(path / "train/info.csv", "A1,5", ",5"),
            ["no core for spectra: A1_0.csv"],
        ),
        (
            lambda path: rewrite(path / "train/info.csv", "voltage", "depth"),
            ["2 columns called 'depth'"],
        ),
        (lambda path: (path / "train/info.csv").write_text(""), ["info.csv is empty"]),
        (lambda path: (path / "train/info.csv").write_bytes(b"\xff\xfe"), ["UTF-8"]),
        (lambda path: (path / "train/info.csv").unlink(), ["train has no info.csv"]),
        (lambda path: shutil.rmtree(path / "train/spe"), ["train has no folder spe/"]),
        (lambda path: shutil.rmtree(path / "test/target"), ["test has no folder target/"]),
        (lambda path: shutil.rmtree(path / "train"), ["cores has no folder train/"]),
        (shutil.rmtree, ["cores is not there"]),
    ],
)
def test_what_is_wrong_in_folders_is_named(folders, change, words):
    change(folders)
    findings = refused(folders)
    for word in words:
        assert word in findings


def test_all_that_is_wrong_is_told_at_once_and_five_of_many_are_named(folders):
    for number in range(SPECTRA):
        (folders / "train" / "spe" / f"A1_{number}.csv").unlink()
    (folders / "test" / "target" / "D1_0.csv").unlink()
    with pytest.raises(DatasetError) as error:
        open_cores(folders)
    assert [where for where, _ in error.value.findings] == [("path",), ("target",)]
    assert "A1_3.csv, A1_4.csv and 1 more" in str(error.value)


def test_a_folder_that_was_named_one_too_high_or_too_low_is_told_so(folders):
    assert f"use the folder that contains it, {folders}" in refused(folders / "train")
    assert "below it, these have one: cores" in refused(folders.parent)
    (folders / "all.txt").write_text("")
    assert "is neither a folder nor a table, .csv, .parquet, .nc" in refused(folders / "all.txt")


def test_spectra_that_are_there_twice_and_cores_on_both_sides_of_validation_are_told(folders):
    shutil.copy(folders / "train/spe/A1_0.csv", folders / "train/spe/A2_0.csv")
    # which an experience refuses
    shutil.copy(folders / "train/spe/A1_0.csv", folders / "test/spe/D1_0.csv")
    rewrite(folders / "train/val.csv", "C1_0.csv,C1", "B1_0.csv,B1")
    for _ in range(2):  # the second time from what is kept
        dataset = open_cores(folders)
        duplicates, divided = dataset.warnings
        assert (
            "1 spectra of the train part are duplicates of earlier ones: A2_0.csv (as A1_0.csv)"
            in duplicates
        )
        assert "2 cores have spectra for training and for validation: B1, C1" in divided
        assert dataset.hashes[0] == dataset.hashes[24]


def test_spectra_without_spread_are_known_by_their_rows(folders):
    assert open_cores(folders).without_spread == []
    (folders / "train/spe/A1_2.csv").write_text("0\n" * CHANNELS)
    (folders / "test/spe/D1_5.csv").write_text("7\n" * CHANNELS)
    for _ in range(2):  # the second time from what is kept
        dataset = open_cores(folders)
        assert dataset.without_spread == [2, 29]
        assert re.search(
            r"2 of \d+ spectra have the same counts in all channels: A1_2.csv, D1_5",
            dataset.warnings[0],
        )


# Samples


def samples(dataset, seed=0, hidden=None, labelled=18):
    rows = {part: np.flatnonzero(dataset.part == part) for part in ("train", "validation", "test")}
    rows |= {"train": rows["train"][:labelled], "unlabelled": rows["train"][labelled:]}
    return SpectrumSamples(
        dataset, **rows, seeds=Seeds(seed), device=torch.device("cpu"), hidden=hidden
    )


def plain(batch):
    return batch


def test_an_epoch_has_every_training_spectrum_once_with_its_target_in_another_order_each_time(
    folders,
):
    dataset = open_cores(folders)
    data = samples(dataset)
    rows = all_counts(dataset).tolist()
    targets = {
        tuple(row): target for row, target in zip(rows, dataset.measured[TARGET], strict=True)
    }
    orders = []
    for number in (1, 2):
        batch = data.epoch(number, 5, plain)
        batches = [batch(index) for index in range(4)]
        assert [len(one["mask"]) for one in batches] == [5, 5, 5, 3]
        epoch = {
            name: torch.cat([one[name] for one in batches]) for name in ("spectrum", "mask", TARGET)
        }
        assert {name: tuple(values.shape[1:]) for name, values in epoch.items()} == dataset.shapes()
        assert {values.dtype for values in epoch.values()} == {torch.float32}
        orders.append([tuple(row) for row in epoch["spectrum"].tolist()])
        assert sorted(orders[-1]) == sorted(map(tuple, all_counts(dataset)[:18].tolist()))
        for row, target in zip(orders[-1], epoch[TARGET][:, 0].tolist(), strict=True):
            assert target == pytest.approx(targets[row], rel=1e-6)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_any_batch_can_be_made_again_without_those_before_it(folders, mix):
    dataset = open_cores(folders, mix=mix)
    batch = samples(dataset).epoch(3, 4, plain)
    before = [batch(index) for index in range(5)]
    again = samples(dataset).epoch(3, 4, plain)(2)
    assert all(torch.equal(again[name], values) for name, values in before[2].items())
    other = samples(dataset, seed=1).epoch(3, 4, plain)(2)
    assert not any(torch.equal(other[name], values) for name, values in before[2].items())


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_batches_from_a_devices_memory_are_those_that_are_read(folders, monkeypatch, mix):
    dataset = open_cores(folders, mix=mix)
    rows = {"validation": np.array([20]), "test": np.array([25]), "unlabelled": np.array([3])}

    def data():
        train = np.array([7, 2, 9, 11, 4])
        return SpectrumSamples(dataset, train, **rows, seeds=Seeds(0), device=torch.device("cpu"))

    read = data().epoch(3, 2, plain)
    monkeypatch.setattr(spectra_dataset, "room_for_data", lambda device: 10**9)
    kept = data()
    batch = kept.epoch(3, 2, plain)
    assert kept._on_device is not None
    for index in range(3):
        assert all(torch.equal(values, batch(index)[name]) for name, values in read(index).items())


def mixtures(dataset, number):
    """Spectra and targets of an epoch, and of each two rows and the share of the second that it was
    made of.
    """
    batch = samples(dataset).epoch(number, 18, plain)(0)
    spectra, targets = all_counts(dataset)[:18].astype(np.float64), dataset.measured[TARGET][:18]
    mixed = []
    for spectrum, target in zip(
        batch["spectrum"].numpy(), batch[TARGET][:, 0].tolist(), strict=True
    ):
        pairs = []
        for first, second in itertools.product(range(18), repeat=2):
            between = spectra[second] - spectra[first]
            share = (
                0.0
                if first == second
                else float((spectrum - spectra[first]) @ between / (between @ between))
            )
            if np.allclose(spectrum, spectra[first] + share * between, rtol=1e-4, atol=1e-3):
                pairs.append(
                    (
                        first,
                        second,
                        share,
                        (1 - share) * targets[first] + share * targets[second] - target,
                    )
                )
        mixed.append(pairs)
    return mixed


@pytest.mark.heavy
def test_mixed_spectra_lie_between_two_of_training_and_their_targets_as_far_between_theirs(folders):
    shares = []
    for number in (1, 2, 3):
        for found in mixtures(open_cores(folders, mix=0.4), number):
            asked = [
                share for _, _, share, error in found if 0 <= share <= 0.4001 and abs(error) < 1e-4
            ]
            assert asked
            shares.append(min(asked))
    assert max(shares) > 0.3
    assert len(set(shares)) > 0.9 * len(shares)


def test_nothing_but_training_is_mixed(folders):
    mixing, plainly = (samples(open_cores(folders, mix=mix)) for mix in (1.0, 0.0))
    mixed, unmixed = (of_mix.epoch(3, 4, plain)(2) for of_mix in (mixing, plainly))
    assert torch.equal(unmixed["mask"], mixed["mask"])
    assert not torch.equal(unmixed["spectrum"], mixed["spectrum"])
    for part in ("validation", "test"):
        for name, values in getattr(plainly, part).items():
            assert torch.equal(getattr(mixing, part)[name], values)


def test_numbers_of_patches_are_new_in_every_epoch_and_always_the_same_for_validation_and_test(
    folders,
):
    dataset = open_cores(folders)
    first, second = samples(dataset), samples(dataset)
    assert torch.equal(first.validation["mask"], second.validation["mask"])
    assert torch.equal(first.test["mask"], second.test["mask"])
    assert not torch.equal(first.validation["mask"], first.test["mask"])
    masks = [first.epoch(number, 18, plain)(0)["mask"] for number in range(200)]
    assert not torch.equal(masks[0], masks[1])
    together = torch.cat(masks)
    assert ((together >= 0) & (together < 1)).all()
    assert together.mean(dim=0).numpy() == pytest.approx(np.full(PATCHES, 0.5), abs=0.03)


def test_batches_are_prepared_when_they_are_asked_for(folders):
    sizes = []

    def prepare(batch):
        sizes.append(len(batch["mask"]))
        return {"x": batch["mask"]}

    batch = samples(open_cores(folders)).epoch(0, 6, prepare)
    assert sizes == []
    assert set(batch(1)) == {"x"}
    assert sizes == [6]


@pytest.mark.parametrize("labelled", [5, 18])
def test_transforms_are_fitted_to_labelled_targets_and_all_spectra_of_training_and_the_others_keep_their_order(
    folders, labelled
):
    dataset = open_cores(folders)
    data = samples(dataset, labelled=labelled)
    assert data.train_size == labelled
    assert data.to_fit()[TARGET][:, 0].numpy() == pytest.approx(dataset.measured[TARGET][:labelled])
    assert np.array_equal(data.to_fit()["spectrum"].numpy(), all_counts(dataset)[:18])
    assert np.array_equal(data.validation["spectrum"].numpy(), all_counts(dataset)[18:24])
    assert np.array_equal(data.test["spectrum"].numpy(), all_counts(dataset)[24:])
    assert TARGET not in samples(open_cores(folders, target=None)).test


def test_what_is_judged_of_a_spectrum_are_its_hidden_channels_and_all_of_anything_else(folders):
    dataset = open_cores(folders)
    data = samples(dataset, hidden=lambda masks: masks.repeat_interleave(PATCH_SIZE, dim=1) > 0.5)
    evaluated = data.counted("spectrum", data.test)
    assert evaluated.shape == data.test["spectrum"].shape
    assert torch.equal(evaluated[:, ::PATCH_SIZE], data.test["mask"] > 0.5)
    assert data.counted(TARGET, data.test) is None
    assert samples(dataset).counted("spectrum", data.test) is None


# Lists as MAX publishes them


def apart(folders: Path) -> None:
    """info.csv without the spectra of val.csv, and targets without an end of line."""
    validation = {
        line.split(",")[0] for line in (folders / "train/val.csv").read_text().splitlines()[1:]
    }
    lines = (folders / "train/info.csv").read_text().splitlines()
    rest = [line for line in lines if line.split(",")[0] not in validation]
    assert len(rest) < len(lines)
    (folders / "train/info.csv").write_text("\n".join(rest) + "\n")
    for path in folders.glob("*/target/*.csv"):
        path.write_text(path.read_text().strip())


def test_lists_that_are_apart_name_all_spectra_together(folders):
    inside = open_cores(folders)
    apart(folders)
    data = open_cores(folders)
    assert set(data.names) == set(inside.names)
    for name in ("part", "cores", "depths", "targets"):
        ours, theirs = (
            dict(zip(of.names.tolist(), values_of(of, name).tolist(), strict=True))
            for of in (inside, data)
        )
        assert ours == theirs, name
    assert set(data.names[data.part == "validation"]) == {
        f"C1_{number}.csv" for number in range(SPECTRA)
    }


def test_a_spectrum_of_val_csv_that_is_nowhere_is_named_and_so_is_one_that_no_list_names(folders):
    apart(folders)
    rewrite(folders / "train/val.csv", "C1_0.csv", "C9_0.csv")
    findings = refused(folders)
    assert re.search(r"val.csv names spectra that are not in .*train/spe: C9_0.csv", findings)
    assert re.search(r"train/spe holds spectra that .*info.csv does not name: C1_0.csv", findings)


def test_a_list_of_some_spectra_can_be_named_and_the_others_are_not_used(folders):
    lines = (folders / "train/info.csv").read_text().splitlines()
    (folders / "train/info_4.csv").write_text("\n".join(lines[:5]))
    some = open_cores(folders, lists={"train": "info_4.csv"})
    assert [(some.part == part).sum() for part in ("train", "validation", "test")] == [
        4,
        SPECTRA,
        SPECTRA,
    ]
    alone = open_cores(folders, lists={"train": "info_4.csv", "validation": None})
    assert [(alone.part == part).sum() for part in ("train", "validation", "test")] == [
        4,
        0,
        SPECTRA,
    ]
    assert len({open_cores(folders).fingerprint, some.fingerprint, alone.fingerprint}) == 3
    assert "train has no info_5.csv, which lists the spectra" in refused(
        folders, lists={"train": "info_5.csv"}
    )
    assert "train has no val_2.csv" in refused(folders, lists={"validation": "val_2.csv"})
    assert "info_4.csv or info.csv has no column 'hole'" in refused(
        folders, lists={"train": "info_4.csv"}, core="hole"
    )
    (folders / "test/info.csv").rename(folders / "test/info_4.csv")
    lists = {"train": "info_4.csv", "test": "info_4.csv"}
    assert "cores: info_4.csv has no column 'hole'" in refused(folders, lists=lists, core="hole")


# Targets that are missing, and their names


def test_targets_may_lie_in_a_folder_of_their_name_which_may_have_a_percent_sign(folders):
    plain = open_cores(folders)
    for part in ("train", "test"):
        (folders / part / "target").rename(folders / part / "TOC%")
        (folders / part / "target").mkdir()
        (folders / part / "TOC%").rename(folders / part / "target/TOC%")
    inside = open_cores(folders, target="TOC%")
    assert inside.measured["TOC%"].tolist() == plain.measured[TARGET].tolist()
    assert inside.fingerprint == plain.fingerprint
    assert inside.shapes()["TOC%"] == (1,)


def test_a_depth_has_the_unit_that_ends_the_name_of_its_column_and_no_other():
    assert [
        unit_in(name) for name in ("mid_depth_mm", "depth (cm)", "Depth [m]", "depth", "item")
    ] == ["mm", "cm", "m", "", ""]


def test_a_target_that_looks_like_a_code_for_no_data_is_doubted(folders):
    (folders / "train/target/A1_3.csv").write_text("-9999\n")
    (doubt,) = open_cores(folders).warnings
    assert doubt.startswith("'toc' of spectrum A1_3.csv is -9999, far from all others")


def test_spectra_without_a_target_are_refused_or_left_out_and_counted(folders):
    complete = open_cores(folders)
    (folders / "train/target/A1_2.csv").unlink()
    (folders / "train/target/C1_0.csv").write_text("")
    (folders / "test/target/D1_5.csv").write_text("nan\n")
    findings = refused(folders)
    assert re.search(
        r'train/target lacks the numbers of spectra, which "missing": "drop" would leave out:'
        r" A1_2.csv, C1",
        findings,
    )
    assert re.search(r"test/target lacks the numbers .* leave out: D1_5.csv", findings)
    some = open_cores(folders, missing="drop")
    labelled = ~np.isin(complete.names, ["A1_2.csv", "C1_0.csv", "D1_5.csv"])
    assert np.array_equal(all_counts(some), all_counts(complete)[labelled])
    for attribute in ("names", "part", "cores", "depths", "targets", "hashes"):
        assert np.array_equal(
            values_of(some, attribute), values_of(complete, attribute)[labelled]
        ), attribute
    remark = (
        "3 of 30 spectra are left out, because they have no number for 'toc': A1_2.csv, C1_0.csv,"
        " D1_5.csv"
    )
    assert some.warnings == [remark]
    assert open_cores(folders, missing="drop").warnings == [remark]  # from the cache
    (folders / "train/target/A1_2.csv").write_text("much")
    assert "A1_2.csv ('much')" in refused(folders, missing="drop")
    for path in folders.glob("*/target/*.csv"):
        path.write_text("")
    assert "no spectrum has a number for 'toc'" in refused(folders, missing="drop")


@pytest.mark.heavy
@pytest.mark.parametrize("ending", ["csv", "parquet", "nc"])
def test_of_a_compiled_table_the_rows_with_the_target_are_used(folders, tmp_path, ending):
    table = as_table(folders)
    names = [
        name.removeprefix("channel_") if name.startswith("channel_") else name
        for name in table.column_names
    ]
    table = table.rename_columns(names)
    measured = [value if row % 3 else None for row, value in enumerate(table[TARGET].to_pylist())]
    spoilt = [-1 if row == 3 else value for row, value in enumerate(table["9"].to_pylist())]
    table = replaced(replaced(table, TARGET, measured, "TOC%"), "9", spoilt)
    writers = {"csv": csv.write_csv, "parquet": parquet.write_table, "nc": write_flat_netcdf}
    writers[ending](table, tmp_path / f"all.{ending}")
    complete = open_cores(folders)
    data = open_cores(tmp_path / f"all.{ending}", target="TOC%", columns="", missing="drop")
    labelled = np.arange(30) % 3 > 0
    assert np.array_equal(all_counts(data), all_counts(complete)[labelled])
    for attribute in ("names", "part", "cores", "targets", "hashes"):
        assert np.array_equal(
            values_of(data, attribute), values_of(complete, attribute)[labelled]
        ), attribute
    assert data.warnings[0].startswith(
        "10 of 30 spectra are left out, because they have no number for 'TOC%': spect"
    )
    assert "spectrum 4 (-1 in channel 9 is negative)" in refused(
        tmp_path / f"all.{ending}", target=None, columns=""
    )


# Depths under other names


def test_a_column_that_looks_like_the_depth_is_named_where_the_depth_is_not_found(folders):
    for path in folders.glob("*/*.csv"):
        rewrite(path, "depth", "mid_depth_mm")
    assert (
        "info.csv has no column 'depth'; did you mean 'mid_depth_mm'; \"depth\": null if"
        in refused(folders)
    )
    assert open_cores(folders, depth="mid_depth_mm").depths[1] == 15

"""Spectra as scanners write them count as plain files of the same counts do."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv, parquet

from qexp.base.outputs import Estimated, Number
from qexp.errors import DatasetError, QexpError
from qexp.kinds.spectra.files import Findings, SpectrumReader
from qexp.kinds.spectra.prediction import SpectrumModel
from qexp.kinds.spectra.sources import SpectrumLayout
from qexp.rows.array_cache import VARIABLE, cache_folder
from tests.cores import CHANNELS, TARGET, open_cores, spectra, table_of, write_folders

ENERGY = (0.1, 0.2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


def avaatech(counts, calibration="", ends=None, times="10 11", line="\r\n", each=10) -> bytes:
    """The blocks in the order of an Avaatech scanner's, with several counts in a line."""
    first, last = (0, len(counts) - 1) if ends is None else ends
    words = [*map(str, counts)]
    lines = [" ".join(words[start : start + each]) for start in range(0, len(words), each)]
    head = ["$Core_ID:", "Kern Süd §4", "$Section_ID:", "2", "$X_Position:", "120,5"]
    head += ["$TotalCPS:", "48211", "$SPEC_ID:", "PS97 085 10kV", "$ACC_VOLT:", "10"]
    head += ["$MEAS_TIM:", times, "$DATE_MEA:", "03-18-2016 10:21:07"]
    data = ["$DATA:", f"{first} {last}", *lines]
    return line.join([*head, *data, *calibration.splitlines(), ""]).encode("latin-1")


def itrax(counts, gain="1.000000", offset="0.000000") -> bytes:
    """Settings whose lines end without a new one, then channels counted from 1."""
    settings = {"Date:": "22-Sep-20", "Position": "707.540018\tmm", "E0": offset, "E1": gain}
    settings |= {"livetime": "13.480499\tseconds", "runtime": "15.000049\tseconds"}
    head = "".join(f"{name}\t{value}\t\t\r" for name, value in settings.items())
    lines = [f"{number + 1}.000\t{count}.000\r\n" for number, count in enumerate(counts)]
    return "".join([head, "channel\tcontent\t\t\r", *lines]).encode("latin-1")


def calibrated(*coefficients: float, unit: str = "") -> str:
    words = " ".join(f"{value:.9g}" for value in coefficients)
    return f"$ENER_FIT:\n{words}\n$MCA_CAL:\n{len(coefficients)}\n{words} {unit}".strip()


def read(folder: Path, content: bytes, channels=CHANNELS, energy=ENERGY):
    """Counts of one file, and the remarks. Raises DatasetError."""
    path = folder / "scan.spe"
    path.write_bytes(content)
    reader, findings = SpectrumReader(channels, energy), Findings()
    (counts,) = reader.counts_of([path], findings)
    findings.refuse()
    return counts, reader.remarks()


COUNTS = spectra("A1")[0][0]


def lines_of_elements():
    """Counts of 2,048 channels of 0.02 keV, with lines as wide as those of a silicon detector."""
    energy = 0.01 + 0.02 * np.arange(2048)
    rates = 300 * np.exp(-energy / 8) + 1
    for centre, height in ((1.74, 900), (3.69, 9000), (4.01, 1200), (6.40, 14000), (7.06, 2000)):
        rates += height * np.exp(-0.5 * ((energy - centre) / 0.06) ** 2)
    return np.random.default_rng(0).poisson(rates)


@pytest.mark.parametrize(
    "content",
    [
        avaatech(COUNTS),
        avaatech(COUNTS, line="\n", each=1),
        avaatech(COUNTS, line="\r"),
        avaatech(COUNTS, calibrated(*ENERGY)),
        avaatech(COUNTS, calibrated(100, 200)),
        avaatech(COUNTS, calibrated(100, 200, 0, unit="eV")),
        avaatech(COUNTS, "$ENER_FIT:\n0,1 0,2"),
        avaatech(COUNTS, calibrated(-0.1, 0.2), ends=(1, CHANNELS)),
        avaatech(COUNTS, "$ROI:\n1\n3 9\n$PRESETS:\nNone\n0\n0\n\x1a"),
        avaatech(COUNTS, calibrated(0, 0, 0)),
        b"\xef\xbb\xbf" + avaatech(COUNTS),
        b"\xef\xbb\xbf$DATA:\n0 63\n" + "\n".join(map(str, COUNTS)).encode(),
        itrax(COUNTS),
        itrax(COUNTS, gain="0.200000", offset="-0.100000"),
        itrax(COUNTS).replace(b".", b","),
    ],
)
def test_a_scan_on_the_channels_of_the_dataset_has_the_counts_of_a_plain_file(tmp_path, content):
    assert np.array_equal(read(tmp_path, content)[0], COUNTS.astype(np.float32))


def test_a_spectrum_of_other_channels_comes_back_to_within_the_noise_of_counting(tmp_path):
    """From half and from twice as many channels, of another offset, and by a quadratic calibration;
    the counts inside of the dataset's energies stay.
    """
    energy = (0.01, 0.02)
    counts = lines_of_elements()
    noise = np.sqrt(np.maximum(counts, 1))
    half = counts.reshape(1024, 2).sum(axis=1)
    found, remarks = read(tmp_path, avaatech(half, calibrated(0.02, 0.04)), 2048, energy)
    assert found.sum() == pytest.approx(counts.sum(), rel=1e-6)
    assert found.min() >= 0
    assert np.sqrt((((found - counts) / noise) ** 2).mean()) < 1
    assert np.linalg.norm(found - counts) < 0.02 * np.linalg.norm(counts)
    assert "1 spectra are resampled by their energies from 1,024 channels" in remarks
    fine = np.repeat(counts, 2)
    twice, _ = read(tmp_path, avaatech(fine, calibrated(0.005, 0.01)), 2048, energy)
    assert np.allclose(twice, 2 * counts, rtol=1e-6)
    padded = np.concatenate([[7, 9], counts])
    moved, _ = read(tmp_path, avaatech(padded, calibrated(-0.03, 0.02)), 2048, energy)
    assert np.allclose(moved, counts, atol=1e-2)
    numbers = np.arange(2049) - 0.5
    edges = 0.01 + 0.02 * numbers + 1e-8 * numbers**2
    up_to = np.interp(edges, energy[0] + energy[1] * numbers, np.cumsum([0, *counts]))
    bent = np.round(np.diff(up_to)).astype(int)
    straight, _ = read(tmp_path, avaatech(bent, calibrated(0.01, 0.02, 1e-8)), 2048, energy)
    assert np.linalg.norm(straight - counts) < 0.03 * np.linalg.norm(counts)


REFUSED = {
    "without data": (avaatech(COUNTS).replace(b"$DATA:", b"$DATEN:"), "it has no block $DATA"),
    "twice": (avaatech(COUNTS) * 2, "first and last channel, or several"),
    "lies": (avaatech(COUNTS, ends=(0, 2047)), "64 counts for the channels 0 to 2047"),
    "backwards": (avaatech(COUNTS, ends=(63, 0)), "64 counts for the channels 63 to 0"),
    "cut off": (avaatech(COUNTS[:-1], ends=(0, 63)), "63 counts for the channels 0 to 63"),
    "negative": (avaatech([-3, *COUNTS[1:]]), "-3 in channel 0 is negative"),
    "words": (avaatech(["much", *COUNTS[1:]]), "'much' in channel 0 is not a number"),
    "falling": (avaatech(COUNTS, calibrated(12.8, -0.2)), "do not increase with the channel"),
    "bent back": (avaatech(COUNTS, calibrated(0.1, 0.2, -0.01)), "do not increase"),
    "elsewhere": (avaatech(COUNTS, calibrated(5, 0.2)), "4.9 to 17.7 keV do not cover"),
    "too short": (avaatech(COUNTS[:60], calibrated(0.1, 0.2)), "0 to 12 keV do not cover"),
    "of others": (avaatech(COUNTS[:32]), "it has 32 channels, not 64, and the files give no"),
    "not of one": (itrax(COUNTS).replace(b"\n5.000", b"\n7.000"), "no consecutive channels"),
    "cut in a line": (itrax(COUNTS)[:-8], "no consecutive channels and counts"),
    "empty table": (itrax([]), "no consecutive channels and counts"),
    "peak areas": (
        b"filename\tposition (mm)\tchannel\tFe\nL0.spe\t3.5\t1\t7\n",
        "it has 9 numbers, not 64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_scan_that_lies_is_refused_with_what_is_wrong(tmp_path, name):
    content, words = REFUSED[name]
    with pytest.raises(DatasetError) as error:
        read(tmp_path, content)
    assert "scan.spe" in str(error.value)
    assert words in str(error.value)


def test_other_channels_need_the_energies_of_the_dataset(tmp_path):
    with pytest.raises(DatasetError, match='and the dataset has no "energy"'):
        read(tmp_path, avaatech(COUNTS[:32], calibrated(0.2, 0.4)), energy=None)


# The whole way: a folder is trained on and estimated as a plain one.


def scanned(folders: Path) -> Path:
    """Each spectrum of a folder as one of the scanners writes it, under its name."""
    paths = sorted(folders.glob("*/spe/*"))
    for index, path in enumerate(paths):
        counts = [int(word) for word in path.read_text().split()]
        forms = [avaatech(counts, calibrated(*ENERGY)), itrax(counts), path.read_bytes()]
        path.write_bytes(forms[index % 3])
    return folders


def test_a_folder_of_scans_and_plain_files_is_the_dataset_of_the_plain_ones(tmp_path):
    plain = open_cores(write_folders(tmp_path / "plain"), energy=[*ENERGY])
    mixed = open_cores(scanned(write_folders(tmp_path / "mixed")), energy=[*ENERGY])
    assert mixed.hashes.tolist() == plain.hashes.tolist()
    assert mixed.fingerprint == plain.fingerprint
    assert plain.warnings == []
    assert mixed.warnings == [
        "10 spectra are scans, of live time 10 s, whose counts stay as they are",
        "10 spectra are scans, of live time 13 s, whose counts stay as they are",
        "10 spectra are read channel by channel, as the files give no energies",
    ]
    assert len(list((cache_folder() / "arrays").glob("*.f32"))) == 1


def test_scans_are_read_anew_for_other_energies_and_plain_files_are_not(tmp_path):
    path = write_folders(tmp_path / "cores")
    first = open_cores(path, energy=[*ENERGY])
    notes = sorted((cache_folder()).rglob("*.note"))
    assert open_cores(path, energy=[5, 7]).fingerprint == first.fingerprint
    assert sorted((cache_folder()).rglob("*.note")) == notes
    scanned(path)
    moved = open_cores(path, energy=[0.15, 0.2])
    assert moved.fingerprint != first.fingerprint
    assert open_cores(path, energy=[*ENERGY]).fingerprint == first.fingerprint
    assert open_cores(path, energy=[0.15, 0.2]).fingerprint == moved.fingerprint


def test_estimates_of_scans_are_those_of_plain_files_and_what_was_done_is_said(tmp_path):
    def estimated(path: Path) -> tuple[list[float], list[str]]:
        model = SpectrumModel(
            layout=SpectrumLayout(CHANNELS, "channel_", "core", "depth", [*ENERGY]),
            outputs={"made": Number("made")},
            estimate=lambda counts: {"made": Estimated(counts @ np.arange(CHANNELS))},
        )
        made = model.predict(path, tmp_path / f"{path.name}.parquet")
        again = model.predict(path, tmp_path / f"{path.name}.parquet")
        assert again.warnings == made.warnings
        return parquet.read_table(made.target)["made_estimate"].to_pylist(), list(made.warnings)

    plain = estimated(write_folders(tmp_path / "plain"))
    mixed = estimated(scanned(write_folders(tmp_path / "mixed")))
    assert mixed[0] == plain[0]
    assert plain[1] == []
    assert any("channel by channel" in warning for warning in mixed[1])
    (tmp_path / "mixed/test/spe/D1_0.csv").write_bytes(avaatech(COUNTS[:9], calibrated(*ENERGY)))
    with pytest.raises(QexpError, match="keV do not cover the energies of the dataset"):
        estimated((tmp_path / "mixed").rename(tmp_path / "damaged"))


def test_targets_below_the_minimum_count_as_missing_in_folders_and_tables(tmp_path):
    path = write_folders(tmp_path / "cores")
    every = open_cores(path)
    low = every.measured[TARGET] < 1
    csv.write_csv(table_of(every), tmp_path / "cores.csv")
    for source in (path, tmp_path / "cores.csv"):
        some = open_cores(source, missing="drop", minimum=1)
        assert some.names.tolist() == every.names[~low].tolist()
        assert np.array_equal(some.read(some.rows), every.read(every.rows[~low]))
        assert some.left_out == low.sum()
        words = f"{low.sum()} of 30 spectra are left out, because they have no number of at least 1"
        assert any(warning.startswith(words) for warning in some.warnings)
        assert len(open_cores(source, missing="drop", minimum=every.measured[TARGET].min())) == 30
        with pytest.raises(DatasetError, match="lacks the numbers of at least 1 of spectra, which"):
            open_cores(source, minimum=1)
        assert len(open_cores(source)) == 30

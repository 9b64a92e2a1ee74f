"""Simulated cores and their spectra: what is in the folders holds together, and a seed says all
that is in it.
"""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.examples import xrf
from qexp.examples.options import XrfOptions
from qexp.examples.xrf import BASINS, ELEMENTS, Scan, core as sediments_core, drift, write
from qexp.physics.xrf import mass_fractions
from tests.conftest import shared_folder

SMALL = XrfOptions("xrf", spectra=10, labelled=4)


@shared_folder
def made(folder: Path) -> None:
    folder.rmdir()
    write(replace(SMALL, out=folder, cores=5, test=1, validation=1))


@pytest.fixture(scope="module")
def scanned() -> Scan:
    return xrf.scan(Seeds(0), 2, XrfOptions("xrf", spectra=40))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_part_has_a_spectrum_and_where_it_should_a_target_for_each_row_and_no_other(
    made: Path,
):
    assert names_in(made) == ["README.md", "caco3", "pretrain", "toc"]
    for name, each in (("pretrain", 10), ("caco3", 4), ("toc", 4)):
        for part, cores in (("test", 1), ("train", 4)):
            folder = made / name / part
            names = [row["filename"] for row in rows(folder / "info.csv")]
            assert len(names) == len(set(names)) == cores * each
            assert names_in(folder / "spe") == sorted(names)
            assert (folder / "target").exists() == (name != "pretrain")
            if name != "pretrain":
                assert names_in(folder / "target") == sorted(names)


def test_a_spectrum_is_2048_whole_numbers_the_same_in_each_data_set_and_a_target_is_one_number(
    made: Path,
):
    for path in made.glob("*/*/spe/*.csv"):
        counts = np.loadtxt(path, delimiter=",", dtype=int)
        assert counts.shape == (2048,)
        assert (counts >= 0).all()
        assert counts.sum() > 1e4
    for path in made.glob("*/*/target/*.csv"):
        assert 0 <= float(path.read_text()) <= 100
        spectrum = path.parents[1] / "spe" / path.name
        assert (
            made / "pretrain" / path.parts[-3] / "spe" / path.name
        ).read_bytes() == spectrum.read_bytes()


def test_the_first_column_names_the_file_and_others_its_core_depth_and_settings(made: Path):
    spectra = rows(made / "pretrain/train/info.csv")
    assert list(spectra[0]) == ["filename", "core", "depth", "voltage", "current", "live_time"]
    assert [row["filename"] for row in spectra[:2]] == ["core_001_0000.csv", "core_001_0001.csv"]
    assert [float(row["depth"]) for row in spectra[:3]] == [5, 15, 25]
    assert (
        len({(row["core"], row["voltage"], row["current"], row["live_time"]) for row in spectra})
        == 4
    )


def test_cores_are_in_one_part_the_same_in_each_data_set_and_rows_for_validation_are_rows_for_training(
    made: Path,
):
    for name, each in (("pretrain", 10), ("caco3", 4), ("toc", 4)):
        lists = [
            rows(made / name / file)
            for file in ("test/info.csv", "train/val.csv", "train/info.csv")
        ]
        cores = [{row["core"] for row in list_} for list_ in lists]
        assert cores == [
            {"core_000"},
            {"core_001"},
            {"core_001", "core_002", "core_003", "core_004"},
        ]
        assert len(lists[1]) == each
        assert all(row in lists[2] for row in lists[1])
        assert not (made / name / "test/val.csv").exists()


def test_labels_are_spread_evenly_over_a_core():
    assert xrf.labelled_depths(XrfOptions("xrf", spectra=200, labelled=40))[:3] == [2, 7, 12]
    for spectra in (1, 7, 50):
        for count in range(spectra + 1):
            chosen = xrf.labelled_depths(XrfOptions("xrf", spectra=spectra, labelled=count))
            assert len(set(chosen)) == count
            assert all(0 <= depth < spectra for depth in chosen)


@pytest.mark.heavy
def test_without_labels_there_are_spectra_to_pretrain_on_only(tmp_path: Path):
    write(replace(SMALL, out=tmp_path / "xrf", cores=2, labelled=0))
    assert names_in(tmp_path / "xrf") == ["README.md", "pretrain"]


@pytest.mark.heavy
def test_a_seed_gives_the_same_bytes_and_a_core_the_same_whatever_others_there_are_and_it_is_for(
    tmp_path, made: Path
):
    write(replace(SMALL, out=tmp_path / "again", cores=5, test=1, validation=1))
    assert files_of(tmp_path / "again") == files_of(made)
    spectra = {
        Path(name).name: content
        for name, content in files_of(made).items()
        if name.startswith("pretrain")
    }
    write(replace(SMALL, out=tmp_path / "few", cores=3, test=0, validation=0))
    for name, content in files_of(tmp_path / "few/pretrain/train/spe").items():
        assert content == spectra[name]
    write(replace(SMALL, out=tmp_path / "other", cores=5, test=1, validation=1, seed=1))
    other = files_of(tmp_path / "other")
    assert not any(
        other[name] == content for name, content in files_of(made).items() if "/spe/" in name
    )


@pytest.mark.heavy
def test_a_longer_core_goes_on_where_the_shorter_one_ends(scanned: Scan):
    longer = xrf.scan(Seeds(0), 2, XrfOptions("xrf", spectra=60))
    np.testing.assert_array_equal(longer.core.carbonate[:40], scanned.core.carbonate)
    np.testing.assert_array_equal(longer.caco3[:40], scanned.caco3)
    np.testing.assert_array_equal(longer.counts[:40], scanned.counts)


def test_the_parts_of_a_sediment_make_up_all_of_it():
    for number in range(20):
        drawn = sediments_core(Seeds(7), number, 50, 10.0)
        np.testing.assert_allclose(sum(drawn.shares.values()), 1)
        np.testing.assert_allclose(drawn.elements.sum(axis=1), 1)
        assert (drawn.elements >= 0).all()
        assert all((share > 0).all() for share in drawn.shares.values())


def test_the_targets_are_those_of_the_mixture():
    drawn = sediments_core(Seeds(0), 2, 50, 10.0)
    carbon = drawn.elements[:, ELEMENTS.index("C")]
    # All carbon is that of calcite and of organic matter; water takes the same share from all of
    # the dry sediment.
    in_calcite = mass_fractions("CaCO3")["C"] * drawn.carbonate / 100
    dry = carbon / (in_calcite + drawn.carbon / 100)
    assert (dry > 0.4).all()
    assert (dry < 0.9).all()
    chlorine = drawn.elements[:, ELEMENTS.index("Cl")]
    # The chlorine is that of the water, in which it has one share.
    np.testing.assert_allclose(chlorine / (1 - dry), chlorine[0] / (1 - dry[0]))


@pytest.mark.heavy
def test_sediments_are_like_those_of_the_sea():
    cores = [sediments_core(Seeds(3), number, 60, 10.0) for number in range(60)]
    carbonate = np.array([core.carbonate.mean() for core in cores])
    carbon = np.array([core.carbon.mean() for core in cores])
    assert carbonate.min() < 10
    assert carbonate.max() > 60
    assert 0.2 < np.median(carbon) < 1.5
    assert carbon.max() < 10
    bromine = np.array([core.elements[:, ELEMENTS.index("Br")].mean() for core in cores])
    assert 10e-6 < np.median(bromine) < 100e-6


def test_drifts_have_unit_variance_and_forget_over_their_length():
    values = drift(np.random.default_rng(0), 400, 500, 0.1)
    assert values.var() == pytest.approx(1, abs=0.05)
    assert (values[10:] * values[:-10]).mean() == pytest.approx(np.exp(-1), abs=0.05)


@pytest.mark.heavy
def test_cores_of_one_basin_are_more_alike_than_cores_of_others():
    cores = [sediments_core(Seeds(1), number, 60, 10.0) for number in range(80)]
    logarithm = {
        basin: [
            np.log(core.shares["organic"] / core.shares["clay"]).mean()
            for core in cores
            if core.basin == basin
        ]
        for basin in range(BASINS)
    }
    within = np.mean([np.var(values) for values in logarithm.values()])
    assert within < 0.6 * np.var(np.concatenate(list(logarithm.values())))


@pytest.mark.heavy
def test_counts_are_poissonian_about_what_the_physics_expects(scanned: Scan):
    scanner = scanned.scanner
    expected = xrf.count_rates(scanned.core.elements, scanner) * scanner.live_time
    many = expected > 20
    deviations = (scanned.counts[many] - expected[many]) / np.sqrt(expected[many])
    assert deviations.mean() == pytest.approx(0, abs=0.02)
    assert deviations.var() == pytest.approx(1, abs=0.02)


@pytest.mark.heavy
def test_counts_go_with_live_time_and_with_the_current_where_nothing_piles_up(scanned: Scan):
    elements, scanner = scanned.core.elements, scanned.scanner
    longer = replace(scanner, live_time=2 * scanner.live_time)
    stronger = replace(scanner, current=2 * scanner.current)
    np.testing.assert_allclose(
        xrf.arrivals(elements, stronger), 2 * xrf.arrivals(elements, scanner)
    )
    counted = xrf.count_rates(elements, scanner)
    np.testing.assert_allclose(xrf.count_rates(elements, longer), counted)
    assert xrf.count_rates(elements, stronger).sum() < 2 * counted.sum()


@pytest.mark.heavy
def test_spectra_have_the_rates_that_a_core_scanner_has():
    for number in range(6):
        for voltage in xrf.CURRENTS:
            scan = xrf.scan(
                Seeds(0), number, XrfOptions("xrf", spectra=2, labelled=1, voltage=(voltage,))
            )
            rate = scan.counts.sum(axis=1).mean() / scan.scanner.live_time
            assert 3e3 < rate < 2e5
            beyond = scan.counts[:, int(1000 * voltage / xrf.GAIN) + 20 :].sum() / scan.counts.sum()
            assert beyond < 0.02  # only sums are there


@pytest.mark.heavy
def test_calcium_follows_carbonate_down_a_core(scanned: Scan):
    def line(energy: float) -> np.ndarray:
        detector = scanned.scanner.detector
        channel = round((energy - detector.offset) / detector.gain)
        return scanned.counts[:, channel - 4 : channel + 5].sum(axis=1)

    assert np.corrcoef(line(3692.0), scanned.core.carbonate)[0, 1] > 0.95
    assert np.corrcoef(line(6404.0), scanned.core.carbonate)[0, 1] < -0.5


@pytest.mark.heavy
def test_laboratories_err_by_what_the_readme_says():
    cores = [
        xrf.scan(Seeds(5), number, XrfOptions("xrf", spectra=40, labelled=1)) for number in range(8)
    ]
    caco3, carbonate = (
        np.concatenate(values)
        for values in zip(*((scan.caco3, scan.core.carbonate) for scan in cores), strict=True)
    )
    assert ((caco3 - carbonate) / np.hypot(0.5, carbonate / 100)).std() == pytest.approx(
        1, abs=0.15
    )
    assert all((scan.toc >= 0).all() for scan in cores)


@pytest.mark.heavy
def test_a_quarter_of_the_cores_is_for_the_test_a_sixth_of_the_others_for_validation_and_voltages_take_turns(
    tmp_path,
):
    write(XrfOptions(tmp_path / "xrf", cores=16, spectra=1, labelled=1, voltage=(10, 30)))
    assert len(rows(tmp_path / "xrf/toc/test/info.csv")) == 4
    assert len(rows(tmp_path / "xrf/toc/train/val.csv")) == 2
    spectra = [
        row
        for part in ("test", "train")
        for row in rows(tmp_path / f"xrf/pretrain/{part}/info.csv")
    ]
    assert [(row["core"], row["voltage"]) for row in spectra] == [
        (f"core_{number:03d}", ("10", "30")[number % 2]) for number in range(16)
    ]
    assert "--voltage 10,30" in (tmp_path / "xrf/README.md").read_text()


# The layout of the data published with MAX


@shared_folder
def published(folder: Path) -> None:
    folder.rmdir()
    write(XrfOptions(folder, cores=3, test=1, validation=1, layout="max", spectra=11, labelled=11))


def test_folders_and_lists_are_named_as_published_and_lists_of_training_and_validation_are_apart(
    published: Path,
):
    columns = {
        "pretrain": "composite_depth_mm",
        "finetune/CaCO3%": "mid_depth_mm",
        "finetune/TOC%": "mid_depth_mm",
    }
    cores = {"train/info.csv": "core_002", "train/val.csv": "core_001", "test/info.csv": "core_000"}
    for folder, depth in columns.items():
        names = []
        for file, core in cores.items():
            spectra = rows(published / folder / file)
            assert next(iter(spectra[0])) == "dirname"
            assert [(row["core"], row[depth]) for row in spectra] == [
                (core, str(10 * row + 5)) for row in range(11)
            ]
            names += [row["dirname"] for row in spectra if file.startswith("train")]
        assert sorted(names) == names_in(published / folder / "train/spe")
    for path in published.glob("finetune/*/*/target/*.csv"):
        assert not path.read_bytes().endswith(b"\n")
        assert float(path.read_text()) >= 0


def test_lists_of_some_training_spectra_are_parts_of_info_csv(published: Path):
    for folder in published.glob("finetune/*/train"):
        assert sorted(path.name for path in folder.glob("*.csv")) == [
            "info.csv",
            "info_10.csv",
            "val.csv",
        ]
        whole, some = (
            (folder / name).read_text().splitlines() for name in ("info.csv", "info_10.csv")
        )
        assert (len(some), some[0]) == (11, whole[0])
        assert [line for line in whole if line in some] == some


@pytest.mark.slow
def test_a_layout_changes_no_spectrum(published: Path, tmp_path: Path):
    options = XrfOptions(tmp_path / "plain", cores=1, test=0, validation=0, spectra=11, labelled=11)
    write(options)
    for plain, other in (
        ("pretrain/train/spe", "pretrain/test/spe"),
        ("toc/train/spe", "finetune/TOC%/test/spe"),
    ):
        assert files_of(tmp_path / "plain" / plain) == files_of(published / other)
    targets = files_of(tmp_path / "plain/toc/train/target").items()
    assert {name: text.strip() for name, text in targets} == files_of(
        published / "finetune/TOC%/test/target"
    )
    with pytest.raises(QexpError, match="layout=\"mix\": did you mean 'max'"):
        write(replace(options, out=tmp_path / "no", layout="mix"))
    assert not (tmp_path / "no").exists()

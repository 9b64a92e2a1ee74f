"""The tables that stand in for measured lunar samples: made by a script, and fit for what the
measured ones are for.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qexp.base.workspace import Workspace
from qexp.kinds.objects import dataset_of
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.tables import BUILT_IN
from qexp.spec import reading

REPOSITORY = Workspace(Path(__file__).resolve().parents[2])
OXIDES = {
    "tio2": "TiO2",
    "feo": "FeO",
    "al2o3": "Al2O3",
    "mgo": "MgO",
    "cao": "CaO",
    "sio2": "SiO2",
}
MISSIONS = {
    "Apollo12": 8, "Apollo14": 3, "Apollo15": 9, "Apollo16": 10, "Apollo17": 21,
    "Luna16": 1, "Luna20": 1, "Luna24": 1, "Chang'E 5": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_measured_data(monkeypatch):
    monkeypatch.delenv("QEXP_DATA", raising=False)


def dataset(name: str) -> TabularDataset:
    made = dataset_of(
        reading.read(REPOSITORY.specs / "datasets" / f"{name}.json"),
        BUILT_IN,
        Workspace(REPOSITORY.root),
    )
    assert isinstance(made, TabularDataset)
    return made


def test_the_script_makes_exactly_the_files_of_the_repository(tmp_path):
    subprocess.run(
        [sys.executable, REPOSITORY.root / "data" / "make_lunar.py", tmp_path], check=True
    )
    made = {path.name: path.read_bytes() for path in (tmp_path / "lunar").iterdir()}
    assert made == {
        path.name: path.read_bytes() for path in (REPOSITORY.root / "data/lunar").glob("stand_in_*")
    }
    more = ["FeO_angles", "TiO2_before_chang_e_5"]
    assert set(made) == {f"stand_in_{oxide}.csv" for oxide in [*OXIDES.values(), *more]}
    rows = made["stand_in_TiO2.csv"].splitlines(keepends=True)
    known = [row for row in rows if not row.startswith(b"Chang'E 5")]
    assert made["stand_in_TiO2_before_chang_e_5.csv"] == b"".join(known) != b"".join(rows)


@pytest.mark.parametrize("name", OXIDES)
def test_every_oxide_has_a_table_with_as_many_samples_of_each_mission_as_there_are(name):
    assert Counter(dataset(f"lunar_{name}").column("mission").tolist()) == MISSIONS


def test_the_oxides_of_a_sample_make_up_all_of_it_and_belong_to_one_reflectance():
    datasets = {name: dataset(f"lunar_{name}") for name in OXIDES}
    total = sum(datasets[name].values[name] for name in OXIDES)
    assert np.allclose(total, 100, atol=0.05)  # of rounding
    for other in datasets.values():
        assert np.array_equal(other.values["reflectance"], datasets["tio2"].values["reflectance"])


def test_samples_of_one_mission_resemble_each_other():
    tio2 = dataset("lunar_tio2")
    missions = tio2.column("mission")
    means = {mission: tio2.values["tio2"][missions == mission].mean() for mission in MISSIONS}
    within = tio2.values["tio2"][:, 0] - [means[mission] for mission in missions]
    assert np.std(within) < 0.8 * np.std(tio2.values["tio2"])


def test_the_features_of_one_variable_are_the_columns_of_two():
    one, two = dataset("lunar_tio2_features"), dataset("lunar_tio2")
    together = np.concatenate([two.values["reflectance"], two.values["angles"]], axis=1)
    assert np.array_equal(one.values["features"], together)


@pytest.mark.parametrize("protocol", ["dlim", "as_published"])
def test_all_oxides_are_estimated_as_dl_im_does_but_for_the_columns_that_each_has(protocol):
    """DL-IM gives FeO and TiO2 the two angles in addition to the bands (main_predicting.py)."""
    specs = {
        oxide: reading.read(REPOSITORY.specs / "experiences" / f"lunar_{oxide}_{protocol}.json")
        for oxide in OXIDES
    }
    of_all = {
        json.dumps({key: value for key, value in spec.items() if key not in OF_ONE_OXIDE})
        for spec in specs.values()
    }
    assert len(of_all) == 1
    for oxide, spec in specs.items():
        (name,) = spec["inputs"]
        opened = dataset(spec["dataset"])
        assert opened.shapes()[name] == ((10,) if oxide in ("feo", "tio2") else (8,))
        assert spec["transforms"] == {name: "standardize", oxide: "standardize"}
        assert spec["outputs"] == [oxide] == list(opened.outputs)


OF_ONE_OXIDE = {
    "description",
    "model",
    "dataset",
    "inputs",
    "outputs",
    "transforms",
    "losses",
    "metrics",
}


REAL = Path(os.environ.get("QEXP_DATA", "").split(os.pathsep)[0]) / "lunar" / "data_Kaguya_TiO2.csv"


@pytest.mark.skipif(
    not REAL.is_file(), reason="QEXP_DATA names no folder with lunar/data_Kaguya_TiO2.csv"
)
def test_the_measured_table_has_the_same_columns_and_other_rows_and_is_preferred(monkeypatch):
    stand_in = REPOSITORY.root / "data/lunar/stand_in_TiO2.csv"
    measured, made_up = (path.read_text(encoding="utf-8").splitlines() for path in (REAL, stand_in))
    assert measured[0] == made_up[0]
    assert not {line.split(",", 1)[1] for line in measured[1:]} & {
        line.split(",", 1)[1] for line in made_up[1:]
    }
    monkeypatch.setenv("QEXP_DATA", str(REAL.parents[1]))
    lunar = dataset("lunar_tio2")
    assert (lunar.path, len(lunar), lunar.warnings) == (REAL, 55, [])
    missions = Counter(lunar.column("mission").tolist())
    assert (missions["Apollo17"], len(missions)) == (21, 9)

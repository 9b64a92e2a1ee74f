import tomllib
from functools import cache
from pathlib import Path

import pytest

from qexp.api.specs import STAND_INS
from qexp.base.workspace import Workspace
from qexp.kinds.experiments import examine, experience, spec_cache
from qexp.spec.experiences import type_of
from qexp.spec.resolution import FOLDERS, REFERENCES

REPOSITORY = Workspace(Path(__file__).resolve().parent.parent)
FILES = sorted(REPOSITORY.specs.rglob("*.json"))

EXPERIENCES = sorted((REPOSITORY.specs / FOLDERS["experience"]).glob("*.json"))
FOR_A_GPU = ("max_pretrain", "max_caco3", "max_toc")
"""Experiences whose networks are of the published size."""

read_once = cache(lambda memory=None: spec_cache(REPOSITORY, memory))

pytestmark = pytest.mark.usefixtures("made_up_data")


def test_the_repository_has_specs_of_every_kind_and_none_astray():
    assert {file.parent.relative_to(REPOSITORY.specs).as_posix() for file in FILES} == set(
        FOLDERS.values()
    )


def test_an_installed_package_has_every_stand_in_for_data_that_is_in_the_repository():
    targets = tomllib.loads((REPOSITORY.root / "pyproject.toml").read_text())["tool"]["hatch"][
        "build"
    ]["targets"]
    shipped = {file for file in targets["wheel"]["force-include"] if file.startswith("data/")}
    stand_ins = (REPOSITORY.root / "data").glob(STAND_INS)
    assert shipped == {file.relative_to(REPOSITORY.root).as_posix() for file in stand_ins}


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file not in EXPERIENCES],
    ids=lambda file: file.relative_to(REPOSITORY.specs).as_posix(),
)
def test_a_dataset_or_model_of_the_repository_is_right(file):
    assert examine(file, read_once()).problems == []


@pytest.mark.slow
@pytest.mark.parametrize("file", EXPERIENCES, ids=lambda file: file.stem)
def test_an_experience_of_the_repository_is_right_and_whole_on_a_small_machine_too(file):
    available = 1_500_000_000 if file.stem in FOR_A_GPU else 300_000_000
    whole = experience(str(file), {}, REPOSITORY, read_once(available))
    assert whole.name == file.stem
    named = [
        getattr(whole, f"{kind}_name") for kind in REFERENCES if type_of(whole.document).trains
    ]
    assert set(named) <= {other.stem for other in FILES}
    assert len(whole.digest) == 64


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("mogi_quick", "f93390a1a644"),
        ("mogi_posterior", "18a2892c84a4"),
        ("lunar_tio2_dlim", "c89382e32128"),
        ("ice_cnn", "fd338408769b"),
        ("msm_small", "c4acd8d11b0b"),
    ],
)
def test_a_spec_keeps_its_digest_so_that_a_key_that_came_later_has_no_default(name, digest):
    assert experience(name, {}, REPOSITORY, read_once()).digest.startswith(digest)

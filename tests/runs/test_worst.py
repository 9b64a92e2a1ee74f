"""A capability is one file, and is shown everywhere."""

import json
import shutil

import pytest

import qexp as package


@pytest.mark.heavy
def test_samples_with_the_largest_errors_are_shown_listed_compared_and_reported(finished, here, qexp, tmp_path):
    shutil.copytree(finished / "runs/sound_1", here / "runs/sound_1")
    found = json.loads(qexp("worst", "sound_0", "--count", "3", "--json").stdout)
    qexp("worst", "sound_1", "--count", "3")
    assert len(found["outputs"]["depth"]) == 3
    assert "depth: largest errors" in qexp("show", "sound_0").stdout
    assert json.loads(qexp("show", "sound_0", "--json").stdout)["worst"] == found
    listed = json.loads(
        qexp("ls", "--json", "--columns", "name,worst.depth.error", "--sort", "worst.depth.error").stdout
    )
    first = found["outputs"]["depth"][0]
    assert {run["name"]: run["worst.depth.error"] for run in listed}["sound_0"] == abs(
        first["estimate"] - first["truth"]
    )
    assert "worst.depth.error (km)" in qexp("ls", "--columns", "worst.depth.error").stdout
    assert "worst.error" in qexp("compare", "sound_0", "sound_1").stdout
    run = package.open_run("sound_0")
    assert "depth: largest errors" in run.report(tmp_path / "sound.html").read_text()
    assert "depth: largest errors" in run._repr_html_()

"""`qexp limit`: the errors of exact posteriors, alone and beside those of a run."""

import json
import re

import pytest

import qexp as package
from qexp.kinds.images.figures import FIGURES
from qexp.spec.kinds import documents_of
from tests.conftest import SOUND, Specs, call, put, write_dense

SAMPLES = 20


@pytest.fixture
def noisy(specs: Specs) -> Specs:
    specs.spoil("dataset", ("fixed.noise", 0.01))
    specs.spoil("experience", ("sizes", [8, 4, SAMPLES]))
    return specs


@pytest.mark.heavy
def test_the_limit_of_a_dataset_is_printed_with_its_units_and_standard_errors(noisy):
    code, stdout, stderr = call("limit", "sound", "--samples", "30")
    assert code == 0, stderr
    number = r"[0-9.e-]+ ± [0-9.e-]+"
    assert re.search(rf"^depth +km +{number} +{number}$", stdout, re.MULTILINE), stdout
    assert re.search(rf"^delta_volume +10⁶ m³ +{number} +{number}$", stdout, re.MULTILINE), stdout
    assert "over 30 samples of the test part of sound with seed 0" in stderr
    assert "a method that knew these could have smaller errors" in stderr
    assert "half as fine" in stderr


@pytest.mark.heavy
def test_only_over_the_whole_prior_are_its_errors_called_the_least(noisy):
    """The exact posterior with the whole prior is not the best method for the values of the test
    intervals alone.
    """
    stdout = call("limit", "sound", "--samples", "30", "--part", "all", "--json").done()
    whole, part = json.loads(stdout), package.limit("sound", samples=30)
    assert (whole["whole"], part.whole) == (True, False)
    assert whole["variables"]["depth"]["mae"] != part.variables["depth"].mae
    said = call("limit", "sound", "--samples", "30", "--part", "all").stderr
    assert "30 samples of the whole prior of sound" in said
    assert "no method has smaller errors" in said
    noisy.spoil(
        "dataset", ("fixed.noise", 0.01), ("varyings.depth", []), ("varyings.delta_volume", [])
    )
    assert package.limit("sound", samples=30).whole
    assert "--part train: " in call("limit", "sound", "--part", "train").failed()


@pytest.mark.heavy
def test_more_noise_means_a_higher_limit(noisy):
    low = package.limit("sound", samples=SAMPLES)
    noisy.spoil("dataset", ("fixed.noise", 0.1))
    high = package.limit("sound", samples=SAMPLES)
    for name, least in low.variables.items():
        assert least.mae < high.variables[name].mae
        assert least.rmse < high.variables[name].rmse


@pytest.mark.heavy
def test_a_run_is_shown_beside_the_limit_of_its_own_samples_and_a_damaged_one_is_named(
    noisy, tmp_path, monkeypatch
):
    assert call("run", "sound", "--seed", "3").code == 0
    record = (tmp_path / "runs/sound_3/run.json").read_bytes()
    assert "qexp limit sound_3" in call("show", "sound_3").stdout
    monkeypatch.setenv("QEXP_FIGURES", "yes")
    found = json.loads(call("limit", "sound_3", "--json").stdout)
    assert [one.name for one in (tmp_path / "runs/sound_3/results/figures").iterdir()] == [
        "test_estimates.png"
    ]
    assert (tmp_path / "runs/sound_3/run.json").read_bytes() == record
    assert json.loads((tmp_path / "runs/sound_3/results/limit.json").read_text()) == found
    assert json.loads(call("show", "sound_3", "--json").stdout)["limit"] == found
    assert "qexp limit" not in call("show", "sound_3").stdout
    assert found == json.loads(
        call("limit", "sound", "--seed", "3", "--samples", SAMPLES, "--json").stdout
    )

    run = package.open_run("sound_3")
    value, least = run.results["test"]["depth"]["mae"], found["variables"]["depth"]["mae"]
    assert value > least
    line = next(
        line
        for line in call("show", "sound_3").stdout.splitlines()
        if re.match(r"depth +mae ", line)
    )
    assert line.split() == [
        "depth",
        "mae",
        f"{value:.4g}",
        f"{least:.4g}",
        f"{value / least:.2f}",
        "km",
    ]
    ((_, drawn),) = FIGURES["test_estimates"](run.directory)
    assert f"(limit {least:.3g})" in drawn.axes[0].get_title()
    report = run.report(tmp_path / "sound.html").read_text()
    assert "errors beside the limit" in report
    assert f"{value / least:.2f}" in report
    (tmp_path / "runs/sound_3/results/limit.json").write_text('{"dataset": "sound"}')
    assert "limit.json is damaged: $.seed is missing" in call("show", "sound_3").failed(5)


@pytest.mark.heavy
def test_inputs_of_the_network_are_known_and_its_outputs_are_not(noisy, tmp_path):
    """One that is given the incidence, and estimates the depth and the level of the noise."""
    level = {"type": "log_uniform", "parameters": {"low": 0.005, "high": 0.02}}
    angle = {"type": "uniform", "parameters": {"a": 0.2, "b": 0.8}}
    changes = [("fixed.noise", ...), ("fixed.incidence", ...), ("fixed.delta_volume", 1.0)]
    for name, prior in (("noise", level), ("incidence", angle)):
        changes += [(f"varyings.{name}", []), (f"distributions.{name}", prior)]
    dataset = SOUND["dataset"]
    for path, value in (*changes, ("varyings.delta_volume", ...)):
        dataset = put(dataset, path, value)
    inputs = ["displacement", "incidence"]
    write_dense(
        tmp_path, "sound", dataset, ["depth", "noise"], inputs, sizes=[8, 4, SAMPLES], batch_size=4
    )
    assert call("run", "sound").code == 0
    code, stdout, stderr = call("limit", "sound_0")
    assert code == 0, stderr
    assert [line.split()[0] for line in stdout.splitlines()[1:]] == ["depth", "noise"]
    assert "known of each sample: incidence" in stderr
    shown = call("show", "sound_0").stdout
    assert re.search(r"^noise +mae +", shown, re.MULTILINE), shown
    assert "known of each sample: incidence" in shown
    stdout = call(
        "calibrate", "sound_0", "--refined", "--observations", "20", "--draws", "20"
    ).done()
    assert re.findall(r"^intervals of (\w+)", stdout, re.MULTILINE) == ["depth", "noise"]


WRONG = [
    ([], "name a dataset, or a run"),
    (["sound", "--run", "sound_0"], "name a dataset, or a run"),
    (["--run", "sound_0", "--seed", "1"], "do not go with --run"),
    (["sound", "--samples", "1"], "from two"),
    (["sound", "--seed", "-1"], "a seed is a whole number"),
]


def test_wrong_options_are_refused(noisy):
    for words, why in WRONG:
        assert why in call("limit", *words).refused()


@pytest.mark.heavy
def test_without_noise_there_is_no_limit(specs):
    assert "has no noise" in call("limit", "sound").failed()
    assert call("run", "sound", "--seed", "3").code == 0
    assert "qexp limit" not in call("show", "sound_3").stdout


SILL = {"type": "exponential", "parameters": {"range": 2.0, "sill": 1e-4}}
WHITE = {"type": "white", "parameters": {}}


DECLARED = [
    ({"noise": 0.01}, {}, WHITE, True),
    ({"noise": 0.0}, {}, WHITE, False),
    ({}, {"noise": []}, WHITE, True),
    ({}, {}, [SILL], True),
    ({}, {}, SILL, True),
    ({}, {}, WHITE, False),
]


def test_whether_there_is_a_limit_follows_from_the_declared_noise():
    for fixed, varyings, noise, expected in DECLARED:
        dataset = {"type": "generated", "fixed": fixed, "varyings": varyings, "noise_model": noise}
        assert documents_of(dataset).has_limit(dataset) is expected, dataset


LIMITS = {
    "exponential": {"depth": 0.220, "delta_volume": 0.141},
    "white": {"depth": 0.052, "delta_volume": 0.017},
}
"""Noise of 0.01 m → variable → mean absolute error of exact posterior medians in long runs of
another program.
"""


@pytest.mark.heavy
@pytest.mark.parametrize("noise", LIMITS)
def test_limits_of_the_shipped_dataset_are_those_that_another_program_found(workspace, noise):
    file = workspace / "specs/datasets/mogi_noisy.json"
    document = json.loads(file.read_text())
    if noise == "white":
        file.write_text(json.dumps({**document, "noise_model": "white"}))
    found = package.limit("mogi_noisy", samples=400, workspace=workspace)
    for name, expected in LIMITS[noise].items():
        one = found.variables[name]
        assert abs(one.mae - expected) < 4 * one.mae_error
        assert one.difference < 1e-3


@pytest.mark.heavy
def test_more_than_three_variables_are_sampled_and_agree_with_integration(specs):
    """Known to a metre, the position no longer matters: the limit is that of depth and volume
    change alone.
    """
    specs.spoil("dataset", ("fixed.noise", 0.01))
    two = package.limit("sound", samples=60)
    near = {"type": "uniform", "parameters": {"a": -0.001, "b": 0.001}}
    changes = [("fixed.noise", 0.01)]
    for name in ("x", "y"):
        changes += [
            (f"fixed.{name}", ...),
            (f"varyings.{name}", [[0.2, 0.8]]),
            (f"distributions.{name}", near),
        ]
    specs.spoil("dataset", *changes)
    four = json.loads(call("limit", "sound", "--samples", "60", "--json").done())
    assert four["sampled"]
    assert four["doubted"] <= 1
    assert not two.sampled
    for name, least in two.variables.items():
        of = four["variables"][name]
        assert of["mae"] == pytest.approx(least.mae, abs=2 * (of["mae_error"] + least.mae_error))
        assert of["difference"] < 0.2
    assert four["variables"]["x"]["mae"] == pytest.approx(0.0003, rel=0.2)
    assert (
        "half of the draws changes the medians" in call("limit", "sound", "--samples", "5").stderr
    )

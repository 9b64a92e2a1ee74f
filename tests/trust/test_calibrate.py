"""`qexp calibrate`: the posteriors of runs beside the values that made simulated observations."""

import hashlib
import json
import math
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import norm

import qexp as package
from qexp.errors import QexpError
from qexp.inference.density import Prior, of_training
from qexp.inference.image_posteriors import PosteriorDraws
from qexp.kinds.images.recalibration import Recalibration
from qexp.results.calibration import (
    Calibration,
    CellShare,
    CoverageShare,
    LocalCoverage,
    OutputCalibration,
    Regions,
    with_verdict,
)
from qexp.simulation.distributions import normal
from qexp.trust.calibration import locate
from tests.browsing import pages
from tests.conftest import SOUND, Specs, call, copied, drawing, put, shared_folder

pytestmark = pytest.mark.xdist_group("calibrated")  # no other worker waits for what this one trains

OBSERVATIONS, DRAWS = 1000, 100

MODEL: dict[str, Any] = {
    "inputs": {"displacement": {"size": [16, 16, 1]}},
    "outputs": ["depth", "delta_volume"],
    "operations": {
        "halve": {"module": "max_pooling"},
        "flatten": {"module": "flatten"},
        "posterior": {"module": "gaussian_posterior"},
    },
    "branches": [
        {
            "x_name": "displacement",
            "y_name": ["depth", "delta_volume"],
            "operations": ["halve", "flatten", "posterior"],
        }
    ],
}

DATASET = put(
    put(SOUND["dataset"], "fixed.noise", 0.01), "varyings", {"depth": [], "delta_volume": []}
)

BRIEF = {"losses": "negative_log_likelihood", "transforms": {}, "epochs": 1, "learning_rate": 1e-9}
EXPERIENCE = {**SOUND["experience"], **BRIEF}
"""Hardly trained: the posterior of every observation is the prior, which is right, and says
nothing.
"""

NARROWER = 1.5
"""By what the posteriors of `narrow_0` are too narrow."""


@shared_folder
def trained(root: Path) -> None:
    """A workspace with a run whose posteriors are right, and one whose posteriors are too
    narrow.
    """
    train(root)


def train(root: Path) -> None:
    specs = Specs(root, {"dataset": DATASET, "model": MODEL, "experience": EXPERIENCE})
    specs.write("experience", EXPERIENCE, "narrow")
    for name in ("sound", "narrow"):
        assert (
            call("run", name, "--name", f"{name}_0", "--device", "cpu", "--workspace", root).code
            == 0
        )
    weights = root / "runs/narrow_0/checkpoints/best.safetensors"
    with safe_open(weights, "pt") as file:
        tensors, metadata = load_file(weights), file.metadata()
    (bias,) = (name for name in tensors if name.endswith("posterior.linear.bias"))
    tensors[bias][2:4] += math.log(NARROWER)  # the diagonal of the factor of the precision
    save_file(tensors, weights, metadata)
    record = root / "runs/narrow_0/run.json"
    document = json.loads(record.read_text())
    document["hashes"]["checkpoints/best.safetensors"] = hashlib.sha256(
        weights.read_bytes()
    ).hexdigest()
    record.write_text(json.dumps(document))


@shared_folder
def calibrated(root: Path) -> None:
    """A workspace with these runs, each calibrated, with its figures."""
    train(root)
    with drawing():
        for name in ("sound_0", "narrow_0"):
            package.calibrate(
                name, observations=OBSERVATIONS, draws=DRAWS, device="cpu", workspace=root
            )


@pytest.fixture
def workspace(calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    return copied(calibrated, tmp_path, monkeypatch)


@pytest.fixture
def untested(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs before they are calibrated, which is the current directory."""
    return copied(trained, tmp_path, monkeypatch)


def error_of(share: float) -> float:
    return math.sqrt(share * (1 - share) / OBSERVATIONS)


@pytest.mark.heavy
def test_posteriors_that_are_the_prior_are_right(workspace):
    found = package.open_run("sound_0").record["calibration"]
    for of in (*found["outputs"].values(), found["density"], found["balls"]):
        assert of["p_value"] > 1e-3
        for coverage in of["coverage"]:
            assert abs(coverage["share"] - coverage["probability"]) < 4 * error_of(
                coverage["probability"]
            )
    shown = call("show", "sound_0").stdout
    assert re.search(r"; right 90 % intervals hold 8[78]\.\d to 9[12]\.\d % of as many", shown)
    assert "hold the truth" not in shown, "without a fault the table says it all"
    assert re.search(
        r"had posteriors been 1\d % too narrow, .*, the ranks of 1,000 observations would show it",
        shown,
    )
    assert found["verdict"] == "depth: calibrated; volume change: calibrated; 1,000 observations"
    assert next(iter(found)) == "verdict"
    width = math.exp(0.5 * norm.ppf(0.95)) - math.exp(0.5 * norm.ppf(0.05))
    assert found["outputs"]["depth"]["width"] == pytest.approx(width, rel=0.1)


@pytest.mark.heavy
def test_posteriors_that_are_too_narrow_are_called_so_everywhere(workspace):
    found = package.open_run("narrow_0").calibration
    expected = 2 * norm.cdf(norm.ppf(0.95) / NARROWER) - 1
    for one in found.outputs.values():
        (share,) = (of.share for of in one.coverage if of.probability == 0.9)
        assert abs(share - expected) < 4 * error_of(expected) + 0.01
        assert one.p_value < 1e-6
        assert one.spread > 1.2
        assert one.local.narrow > 0
        assert one.local.wide == 0
    shown = call("show", "narrow_0").stdout
    assert re.search(
        r"90 % intervals of volume change hold the truth in 7\d\.\d %: too narrow", shown
    )
    assert "not uniform (p < 0.001): posteriors tend to be too narrow" in shown
    assert (
        "regions of highest density hold the truth less often than they should (p < 0.001)" in shown
    )
    assert found.verdict.startswith("depth: too narrow")
    assert (
        "; regions of highest density hold the truth less often than they should; " in found.verdict
    )
    assert found.verdict.endswith(
        "; 1,000 observations; more simulations or a recalibration may help"
    )
    assert found.verdict in shown


@pytest.mark.heavy
def test_the_numbers_of_every_observation_give_those_of_the_record(workspace):
    found = package.open_run("narrow_0").calibration
    with xarray.open_dataset("runs/narrow_0/results/calibration.nc", engine="h5netcdf") as numbers:
        low, median, high = (
            numbers["depth_quantile"].sel(quantile=one) for one in (0.05, 0.5, 0.95)
        )
        inside = (low <= numbers["depth"]) & (numbers["depth"] <= high)
        recorded = next(
            one.share for one in found.outputs["depth"].coverage if one.probability == 0.9
        )
        # of 100 draws quantiles are interpolated
        assert float(inside.mean()) == pytest.approx(recorded, abs=0.05)
        assert found.outputs["depth"].width == pytest.approx(float((high - low).median()))
        position = numbers["depth_position"]
        assert float(((position > 0.5) == (numbers["depth"] > median)).mean()) > 0.98
        assert int(numbers["depth_estimate_count"].sum()) == OBSERVATIONS
        share = numbers["depth_position_share"].sel(point=0.25)
        assert float(share) == float((position <= 0.25).mean())


@pytest.mark.heavy
def test_the_command_says_and_keeps_what_python_gives(workspace):
    words = (
        "calibrate",
        "sound_0",
        "--observations",
        60,
        "--draws",
        30,
        "--seed",
        7,
        "--device",
        "cpu",
    )
    found = json.loads(call(*words, "--json").done())
    assert json.loads(Path("runs/sound_0/results/calibration.json").read_text()) == found
    again = package.calibrate("sound_0", observations=60, draws=30, seed=7, device="cpu").document()
    other = package.calibrate("sound_0", observations=60, draws=30, seed=8, device="cpu").document()
    assert {**again, "created": ""} == {**found, "created": ""}
    assert other["outputs"] != found["outputs"]
    shown = call(*words).stdout
    assert "60 observations of sound, drawn from the whole prior (seed 7), 30 draws" in shown
    assert re.match(r"depth: .*; 60 observations *\n", shown)


@pytest.mark.heavy
def test_several_runs_have_a_line_each_and_seeds_are_compared_by_their_means(workspace):
    assert call("run", "sound", "--seeds", "1:3", "--device", "cpu").code == 0
    words = ("--observations", 100, "--draws", 40, "--device", "cpu")
    code, stdout, stderr = call("calibrate", "sound_[12]", "narrow_0", *words, "--json")
    assert (code, list(json.loads(stdout))) == (0, ["sound_1", "sound_2", "narrow_0"]), stderr
    stdout = call("calibrate", "sound_*", "narrow_0", *words).done()
    for name in ("sound_0", "sound_1", "sound_2"):
        assert re.search(rf"{name} +passed +[89]\d\.\d % +\S+ km", stdout), stdout
    assert re.search(r"narrow_0 +[1-6] of 6 find a fault +[67]\d\.\d %", stdout), stdout
    runs = {
        name: package.open_run(name).calibration
        for name in ("sound_0", "sound_1", "sound_2", "narrow_0")
    }
    compared = package.compare("sound_*", "narrow_*").document()["calibrations"]
    rows = {(one["group"], one["output"], one["metric"]): one for one in compared}
    width = rows["sound", "depth", "calibration.width"]
    wanted = [runs[f"sound_{seed}"].outputs["depth"].width for seed in range(3)]
    assert (width["n"], width["unit"], list(width["values"].values())) == (3, "km", wanted)
    assert (width["mean"], width["standard_deviation"]) == pytest.approx(
        (np.mean(wanted), np.std(wanted, ddof=1))
    )
    assert [rows[name, "joint", "calibration.passed"]["mean"] for name in ("sound", "narrow")] == [
        1,
        0,
    ]
    shown = call("compare", "sound_*", "narrow_*", "--all").stdout
    assert re.search(r"joint: calibration\.passed\n.*\nA +3 +3 of 3 ", shown), shown
    assert re.search(r"calibration\.coverage_90 +A +3 +0\.\d+ ± 0\.\d+", shown), shown
    assert "calibration.passed: runs in whose posteriors no test finds a fault" in shown
    assert "calibration.width,km,3," in call("compare", "sound_*", "--csv").stdout
    assert "3 of 3" in package.report("sound_*", to=workspace / "sound.html").read_text()


@pytest.mark.heavy
def test_widths_stand_beside_the_bound_only_where_the_signal_is_well_above_the_noise(specs):
    specs.write("dataset", put(DATASET, "fixed.noise", 0.1))
    specs.write("model", MODEL)
    specs.write("experience", EXPERIENCE)
    assert call("run", "sound", "--device", "cpu").code == 0
    kept = (
        package.calibrate("sound_0", observations=100, draws=20, device="cpu")
        .outputs["depth"]
        .bound_ratio
    )
    assert (0 < kept.observations < 100, kept.of) == (True, 100)
    assert (
        f"median of the {kept.observations} of 100 observations with a signal"
        in call("show", "sound_0").stdout
    )
    specs.write("dataset", put(DATASET, "fixed.noise", 0.0))
    assert call("run", "sound", "--seed", 1, "--device", "cpu").code == 0
    found = package.calibrate("sound_1", observations=20, draws=20, device="cpu")
    assert [one.bound_ratio for one in found.outputs.values()] == [None, None]
    assert "Cramér" not in call("show", "sound_1").stdout


@pytest.mark.heavy
def test_of_several_runs_those_without_posteriors_are_named_and_the_others_are_tested_if_only_with_few_draws(
    workspace,
):
    specs = Specs(workspace, {})
    specs.write("model", SOUND["model"], "plain")
    specs.write("experience", {**SOUND["experience"], "model": "plain"}, "plain")
    assert call("run", "plain", "--device", "cpu").code == 0
    words = ("--observations", 20, "--draws", 20, "--device", "cpu")
    code, stdout, stderr = call("calibrate", "plain_0", "narrow_0", *words)
    assert (code, "narrow_0" in stdout, "plain_0" in stdout) == (4, True, False)
    assert re.search("error: plain_0: .* without a posterior; train one", stderr)
    assert package.open_run("narrow_0").calibration.observations == 20
    shown = call("show", "narrow_0").stdout
    assert re.search(
        r"had posteriors been 58 % too narrow, .*, the ranks of 20 observations would show it",
        shown,
    )
    assert "is unknown: no cell has enough observations" in shown
    assert call("calibrate", "plain_*", *words).code == 2
    assert call("calibrate", "nothing_*", *words).code == 3


def test_verdicts_are_words_for_what_the_tests_find():
    def verdict(
        observations=2000,
        part="all",
        caution="",
        ranks=0.5,
        share=0.9,
        spread=1.0,
        mean=0.5,
        places=0.5,
        region=0.5,
    ):
        cell = CellShare(share=0.8, observations=40, between={"depth": (1.0, 2.0)})
        local = LocalCoverage(
            axes=("depth",), cells=9, narrow=2, wide=0, p_value=places, fewest=cell, most=cell
        )
        in_intervals = (
            CoverageShare(probability=0.9, share=share, expected=(0.88, 0.92), p_value=0.5),
        )
        depth, volume = (
            OutputCalibration(
                unit="km",
                p_value=p_value,
                mean_position=mean,
                spread=spread,
                width=1.0,
                coverage=in_intervals,
                local=of_places,
            )
            for p_value, of_places in ((ranks, local), (0.9, replace(local, p_value=0.9)))
        )
        found = Calibration(
            dataset="sound",
            part=part,
            seed=0,
            observations=observations,
            draws=100,
            created="",
            caution=caution,
            notices_narrow=0.93 if observations == 2000 else 0.42,
            notices_shift=0.1,
            outputs={"depth": depth, "delta_volume": volume},
            density=Regions(
                p_value=region, coverage=(replace(in_intervals[0], probability=0.5, share=0.59),)
            ),
            balls=Regions(p_value=0.5, coverage=in_intervals),
        )
        assert Calibration.from_document(with_verdict(found).document()) == with_verdict(found)
        return with_verdict(found).verdict

    assert verdict() == "depth: calibrated; volume change: calibrated; 2,000 observations"
    rest = "; volume change: calibrated; 2,000 observations"
    helps = f"{rest}; longer training, more simulations or a recalibration may help"
    assert verdict(ranks=1e-4, share=0.92, spread=0.9) == f"depth: slightly too wide{helps}"
    assert (
        verdict(ranks=1e-4, share=0.8, spread=1.2)
        == f"depth: too narrow{helps.replace('longer training, ', '')}"
    )
    assert verdict(ranks=1e-4, mean=0.55) == f"depth: medians too low{helps}"
    assert verdict(ranks=1e-4) == f"depth: posteriors of a wrong shape{helps}"
    assert (
        verdict(places=1e-4)
        == f"depth: calibrated on average, not everywhere (too narrow in 2 of 9 cells){rest}"
    )
    more = "regions of highest density hold the truth more often than they should"
    assert (
        verdict(region=1e-4)
        == f"depth: calibrated; volume change: calibrated; {more}; 2,000 observations"
    )
    assert (
        verdict(observations=20)
        == "depth: no fault seen; volume change: no fault seen; 20 observations"
    )
    assert verdict(part="train", caution="it").endswith(
        "; 2,000 observations of the part 'train'; see the caution"
    )


@pytest.mark.heavy
def test_a_record_that_calls_observations_draws_and_draws_samples_is_read(workspace):
    record = Path("runs/sound_0/results/calibration.json")
    today = package.open_run("sound_0").calibration
    before = {"observations": "draws", "draws": "samples"}
    record.write_text(
        json.dumps({before.get(key, key): value for key, value in today.document().items()})
    )
    assert (
        json.loads(record.read_text()).items() >= {"draws": OBSERVATIONS, "samples": DRAWS}.items()
    )
    assert package.open_run("sound_0").calibration == today
    assert package.open_run("sound_0").record["calibration"] == today.document()


@pytest.mark.heavy
def test_a_calibration_that_cannot_be_written_leaves_the_earlier_one_as_it_was(workspace):
    results = Path("runs/sound_0/results")
    before = {path: path.read_bytes() for path in results.glob("calibration*")}
    assert {path.name for path in before} == {"calibration.json", "calibration.nc"}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # as on a full disk: writing fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, limits[1]))
    try:
        code, _, stderr = call(
            "calibrate", "sound_0", "--observations", 200, "--draws", 20, "--device", "cpu"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code != 0, stderr
    assert {path: path.read_bytes() for path in results.glob("calibration*")} == before
    assert not [path for path in results.iterdir() if path.name.startswith(".calibration")]


@pytest.mark.heavy
def test_listings_and_comparisons_have_its_columns(workspace):
    words = call(
        "ls", "--columns", "name,calibration.depth.coverage_90,calibration.joint.balls_p_value"
    ).stdout
    found = package.open_run("sound_0").calibration
    line = next(line for line in words.splitlines() if line.startswith("sound_0"))
    columns = found.outputs["depth"].coverage[2].share, found.balls.p_value
    assert line.split()[1:] == [f"{one:.4g}" for one in columns]
    assert call("ls", "-q", "--where", "calibration.depth.coverage_90 < 0.8").stdout.split() == [
        "narrow_0"
    ]
    assert call("ls", "-q", "--sort", "calibration.depth.coverage_90").stdout.split() == [
        "narrow_0",
        "sound_0",
    ]
    code, _, stderr = call("ls", "--columns", "calibration.depth.coverage_9")
    assert (code, "did you mean 'calibration.depth.coverage_9" in stderr) == (2, True)
    compared = call("compare", "sound_0", "narrow_0", "--metric", "calibration.coverage_90")
    assert re.search(r"A +0\.9?[89]\d*\s.*\n *B +0\.7\d+", compared.stdout), compared.stdout
    assert "do not say which values of calibration" not in compared.stdout + compared.stderr


@pytest.mark.heavy
def test_a_damaged_calibration_is_named_and_a_run_that_was_not_calibrated_has_empty_columns(
    workspace,
):
    record = Path("runs/sound_0/results/calibration.json")
    record.write_text('{"dataset": "sound"}')
    assert "calibration.json is damaged: $.part is missing" in call("show", "sound_0").failed(5)
    record.unlink()
    code, stdout, _ = call("ls", "--json", "--where", "calibration.depth.coverage_90 == null")
    assert (code, [one["name"] for one in json.loads(stdout)]) == (0, ["sound_0"])
    assert package.open_run("sound_0").record["calibration"] is None
    assert "true values in intervals" not in call("show", "sound_0").stdout


@pytest.mark.heavy
def test_figures_are_drawn_and_are_drawn_again_from_the_files(workspace):
    figures = Path("runs/narrow_0/results/figures")
    names = [f"calibration_{one}" for one in ("ranks", "coverage", "local")]
    before = {name: (figures / f"{name}.png").read_bytes() for name in names}
    assert (
        call("figures", "narrow_0", *(word for name in names for word in ("--only", name))).code
        == 0
    )
    assert {name: (figures / f"{name}.png").read_bytes() for name in names} == before


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_report_and_it_is_no_wider_than_a_phone(
    workspace, browser, findings, tmp_path, scheme
):
    file = package.open_run("narrow_0").report(tmp_path / "narrow.html")
    with pages(browser) as opened:
        page = opened(file.as_uri(), width=400, color_scheme=scheme)
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 400


@pytest.mark.heavy
def test_a_report_has_verdicts_and_drawings_but_none_of_the_numbers_of_another_calibration(
    workspace, tmp_path
):
    run = package.open_run("narrow_0")
    text = run.report(tmp_path / "narrow.html").read_text()
    assert "<h2>Calibration</h2>" in text
    assert "posteriors tend to be too narrow" in text
    assert "ranks of the true values</figcaption>" in text
    assert "true values in intervals, by where they lie</figcaption>" in text
    assert "how sure its posteriors may be" in run.view().more
    record = Path("runs/narrow_0/results/calibration.json")
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "created": "2026-01-01T00:00:00+00:00"})
    )
    code, _, stderr = call("figures", "narrow_0", "--only", "calibration_ranks")
    assert (code, "is of another calibration than calibration.json" in stderr) == (2, True), stderr
    text = package.open_run("narrow_0").report(tmp_path / "narrow.html").read_text()
    assert "posteriors tend to be too narrow" in text
    assert "ranks of the true values</figcaption>" not in text
    written = json.loads(record.read_text())
    finding = "its numbers are not those of calibration.json"
    record.unlink()  # as a first calibration that was killed
    assert finding in call("doctor", "--fix").stdout
    assert json.loads(record.read_text()) == {**written, "created": run.calibration.created}
    assert "no problems" in call("doctor").stderr
    call("figures", "narrow_0", "--only", "calibration_ranks").done()


@pytest.mark.heavy
def test_of_a_network_with_held_out_intervals_a_caution_names_the_prior_that_it_knows(specs):
    specs.write("dataset", put(DATASET, "varyings.depth", [[0.3, 0.6]]))
    specs.write("model", MODEL)
    specs.write("experience", EXPERIENCE)
    assert call("run", "sound", "--device", "cpu").code == 0
    quick = {"observations": 20, "draws": 20, "device": "cpu"}
    whole = package.calibrate("sound_0", **quick)
    assert (
        "never saw the held-out intervals of depth: its prior is the training part" in whole.caution
    )
    assert whole.caution in call("show", "sound_0").stdout
    assert package.calibrate("sound_0", part="train", **quick).caution == ""
    assert package.calibrate("sound_0", refined=True, **quick).caution == ""
    on_test = package.calibrate("sound_0", refined=True, part="test", **quick)
    assert "from the part 'test', but the prior of the posteriors is the whole" in on_test.caution
    with xarray.open_dataset(
        "runs/sound_0/results/calibration_refined_test.nc", engine="h5netcdf"
    ) as numbers:
        low, high = (math.exp(0.5 * norm.ppf(share)) for share in (0.3, 0.6))
        assert ((low <= numbers["depth"]) & (numbers["depth"] <= high)).all()


WRONG = [
    ("--observations", "5", "--observations 5: from 20"),
    ("--draws", "5", "--draws 5: from 20"),
    ("--seed", "-1", "a seed is a whole number"),
    ("--exact", "-1", "--exact -1: from 0 to the number of observations"),
    ("--part", "tset", "did you mean 'test'"),
]


@pytest.mark.heavy
def test_wrong_options_are_refused_and_change_nothing(workspace):
    before = Path("runs/sound_0/results/calibration.json").read_bytes()
    for *words, why in WRONG:
        outcome = call("calibrate", "sound_0", *words)
        assert (outcome.code, outcome.stdout, why in outcome.stderr) == (2, "", True), (
            outcome.stderr
        )
    assert Path("runs/sound_0/results/calibration.json").read_bytes() == before


@pytest.mark.heavy
def test_a_run_without_posteriors_says_how_to_get_some_and_those_by_the_likelihood_need_no_head(
    here,
):
    stderr = call("calibrate", "sound_0", "--observations", 20).refused()
    assert (
        "without a posterior; train one whose branch ends with a posterior head, such as 'gauss"
        in stderr
    )
    assert "--refined" in stderr
    Specs(here).spoil("dataset", ("fixed.noise", 0.01))
    call("run", "sound", "--seed", 5, "--device", "cpu").done()
    found = package.calibrate("sound_5", observations=100, draws=100, refined=True, device="cpu")
    assert (found.refined, found.density) == (True, None)
    for output in found.outputs.values():
        assert output.p_value > 1e-3


@pytest.mark.heavy
def test_posteriors_are_compared_with_exact_ones_and_those_by_the_likelihood_are_equal_to_them(
    workspace,
):
    head = package.calibrate("sound_0", observations=40, draws=300, exact=3, device="cpu")
    refined = package.calibrate(
        "sound_0", observations=40, draws=300, exact=3, refined=True, device="cpu"
    )
    for name in ("depth", "delta_volume"):
        assert head.outputs[name].width_ratio.median > 2  # it knows no more than the prior
        assert head.outputs[name].bound_ratio is None
        assert refined.outputs[name].width_ratio.median == pytest.approx(1, abs=0.15)
    assert head.exact.accuracy > 0.8
    assert refined.exact.accuracy < 0.58
    assert refined.exact.observations == 3
    shown = call("show", "sound_0").stdout
    assert (
        shown.count(
            "40 observations of sound, drawn from the whole prior (seed 0), 300 draws from the"
        )
        == 2
    )
    assert re.search(r"intervals of depth +refined( +\d+\.\d){4} +\S+ +\S+ km +[01]\.\d+", shown), (
        shown
    )
    assert re.search(
        r"classifier distinguishes the draws of 3 posteriors from those of exact ones in [45]\d\.",
        shown,
    )
    wanted = "calibration.joint.refined.c2st < 0.58 and calibration.depth.width_ratio > 2"
    assert [one["name"] for one in json.loads(call("ls", "--json", "--where", wanted).stdout)] == [
        "sound_0"
    ]


@pytest.mark.heavy
def test_the_calibrations_of_head_and_likelihood_stand_side_by_side(workspace, tmp_path):
    head = package.open_run("sound_0").calibration
    with drawing():
        refined = package.calibrate(
            "sound_0", observations=30, draws=30, refined=True, device="cpu"
        )
        on_test = package.calibrate("sound_0", observations=20, draws=20, part="test", device="cpu")
    run = package.open_run("sound_0")
    kept = {"head": head, "head_test": on_test, "refined": refined}
    assert list(run.calibrations) == list(kept)
    assert run.record["calibration"] == head.document()
    assert run.record["calibrations"] == {kind: one.document() for kind, one in kept.items()}
    shown = call("show", "sound_0").stdout
    for kind, one in (("head", head), ("refined", refined), ("head, test part", on_test)):
        share = next(
            100 * of.share for of in one.outputs["depth"].coverage if of.probability == 0.5
        )
        assert re.search(rf"intervals of depth +{kind} +{share:.1f} ", shown), shown
    assert shown.count("calibration: ") == 3
    bounds = {kind: one.outputs["depth"].bound_ratio for kind, one in kept.items()}
    assert bounds["head"].median > 2  # it knows no more than the prior
    assert bounds["refined"].median == pytest.approx(1, abs=0.15)
    assert bounds["head"].of == 200
    assert re.search(
        r"intervals of depth are (0\.9|1\.[01])\d* times as wide as 3.29 standard deviations of",
        shown,
    )
    widths = call(
        "ls", "--json", "--columns", "name,calibration.depth.width,calibration.depth.refined.width"
    ).stdout
    line = next(one for one in json.loads(widths) if one["name"] == "sound_0")
    assert line["calibration.depth.width"] == head.outputs["depth"].width
    assert line["calibration.depth.refined.width"] == refined.outputs["depth"].width
    pictures = {one.name for one in Path("runs/sound_0/results/figures").glob("calibration_*.png")}
    names = ("ranks", "coverage", "local")
    assert pictures == {
        f"calibration_{kind}{one}.png" for one in names for kind in ("", "refined_", "head_test_")
    }
    text = run.report(tmp_path / "sound.html").read_text()
    assert "ranks of the true values (refined)" in text
    assert "ranks of the true values (head, test part)" in text


def test_draws_that_are_not_finite_are_refused():
    values = np.ones((3, 20, 1))
    values[1, 5] = np.inf
    prior = Prior(["depth"], [of_training("depth", normal(0, 1), 1.0)], {})
    with pytest.raises(
        QexpError, match="the posteriors of 1 of 3 observations have draws that are not finite"
    ):
        locate(
            np.ones((3, 1)), PosteriorDraws((), values, np.ones(3)), prior, np.random.default_rng(0)
        )


@pytest.mark.heavy
def test_of_a_single_output_the_ranks_say_all(specs):
    one = {
        "x_name": "displacement",
        "y_name": "depth",
        "operations": ["halve", "flatten", "posterior"],
    }
    known = {**DATASET["fixed"], "delta_volume": 1.0}
    specs.write("dataset", {**DATASET, "fixed": known, "varyings": {"depth": []}})
    specs.write("model", {**MODEL, "outputs": ["depth"], "branches": [one]})
    specs.write("experience", {**EXPERIENCE, "outputs": ["depth"], "metrics": {}})
    assert call("run", "sound", "--device", "cpu").code == 0
    with drawing():
        code, stdout, stderr = call(
            "calibrate", "sound_0", "--observations", 200, "--draws", 50, "--device", "cpu"
        )
    assert code == 0, stderr
    assert not re.search("regions of|balls", stdout)
    assert re.match(r"depth: .*; 200 observations\n", stdout)
    assert len(list(Path("runs/sound_0/results/figures").glob("calibration_*.png"))) == 3
    assert "calibration_drawn" not in package.open_run("sound_0").report().read_text()


def test_runs_that_differ_by_their_seed_are_one_estimator_with_the_mixture_of_their_posteriors(
    untested,
):
    for seed in (1, 2):
        call("run", "sound", "--seed", str(seed), "--device", "cpu").done()
    runs, images = ["sound_0", "sound_1", "sound_2"], package.samples("sound", "test", count=40)
    images[["displacement", "depth"]].to_netcdf("images.nc", engine="h5netcdf")
    said = call("predict", "sound_[0-2]", "images.nc", "--output", "made.nc", "--draws", "50")
    assert "networks" in said.stderr
    assert said.done().split() == ["made.nc", "made_posterior.nc"]
    made = xarray.load_dataset("made.nc", engine="h5netcdf")
    assert made.attrs["run"] == "sound_0, sound_1, sound_2"
    each = [
        package.open_run(run).predict(displacement=images["displacement"].values)["depth"]
        for run in runs
    ]
    np.testing.assert_allclose(made["depth_spread"], np.std(each, axis=0, ddof=1), rtol=1e-3)
    together = package.open_run(runs, ensemble=True)
    of_arrays = together.predict(displacement=images["displacement"].values)
    np.testing.assert_allclose(of_arrays["depth"], made["depth_estimate"], rtol=1e-4)
    drawn = together.posterior(displacement=images["displacement"].values[0], draws=20_000)[
        "depth"
    ].values
    ends = [np.mean(drawn < made[f"depth_{end}"].values[0]) for end in ("low", "high")]
    np.testing.assert_allclose(ends, [0.05, 0.95], atol=0.01)
    # the three are hardly trained
    assert made["depth_within"].values[0] == pytest.approx(drawn.std(), rel=0.05)
    (again,) = package.predict(list(reversed(runs[1:])), "images.nc", "two.nc")
    assert again.made

    asked = (
        "calibrate",
        "sound_[0-2]",
        "--ensemble",
        "--observations",
        "500",
        "--draws",
        "50",
        "--device",
        "cpu",
    )
    with drawing():
        folder = Path(call(*asked).done().split()[-1])
    assert {"calibration.json", "calibration_ranks.png"} <= {path.name for path in folder.iterdir()}
    kept = json.loads((folder / "calibration.json").read_text())
    assert all(of["p_value"] > 1e-3 for of in kept["outputs"].values())
    assert not Path("runs/sound_1/results/calibration.json").exists()


def test_runs_that_are_no_ensemble_are_refused_with_what_differs(untested):
    call(
        "run", "sound", "--seed", "1", "--set", "epochs=2", "--name", "longer_1", "--device", "cpu"
    ).done()
    np.save("images.npy", np.zeros((2, 16, 16)))
    given = ("images.npy", "--output", "made.csv")
    for runs, words in (
        ("sound_0,longer_1", "2 specs: sound_0; longer_1; they differ in epochs"),
        ("sound_0,narrow_0", "sound_0 and narrow_0 have the same seed and spec"),
    ):
        named = [word for run in runs.split(",") for word in ("--run", run)]
        assert words in call("predict", *named, *given).refused()
    call("run", "sound", "--seed", "1", "--device", "cpu").done()
    with pytest.raises(QexpError, match="evaluate each of them"):
        package.open_run(["sound_0", "sound_1"], ensemble=True).evaluate("sound")
    record = json.loads(Path("runs/longer_1/run.json").read_text())
    Path("runs/longer_1/run.json").write_text(json.dumps({**record, "state": "interrupted"}))
    assert "longer_1 is interrupted, not done" in call("predict", "*_[01]", *given).refused()


def test_recalibrated_posteriors_hold_the_truth_of_new_observations_as_often_as_they_say(untested):
    package.calibrate("narrow_0", observations=OBSERVATIONS, draws=DRAWS, device="cpu")
    found = package.calibrate(
        "narrow_0", observations=OBSERVATIONS, draws=DRAWS, seed=5, recalibrated="all"
    )
    for of in found.outputs.values():
        (share,) = (one.share for one in of.coverage if one.probability == 0.9)
        # factors are as uncertain as what tests them
        assert abs(share - 0.9) < 4 * math.sqrt(2) * error_of(0.9)
    assert package.open_run("narrow_0").calibrations.keys() == {"head", "recalibrated"}
    images = np.random.default_rng(0).normal(0, 0.01, (3, 16, 16)).astype(np.float32)
    np.savez("images.npz", displacement=images)
    made = {}
    for name, asked in (("head", {}), ("wide", {"recalibrated": "all"})):
        package.predict("narrow_0", "images.npz", f"{name}.nc", draws=2000, interval=0.8, **asked)
        made[name] = xarray.load_dataset(f"{name}.nc", engine="h5netcdf")
    assert (
        "recalibrated by 1,000 observations of the whole prior"
        in made["wide"].attrs["recalibrated"]
    )
    widths = {name: (of["depth_high"] - of["depth_low"]).values for name, of in made.items()}
    assert widths["wide"] / widths["head"] == pytest.approx(NARROWER, rel=0.15)
    draws = package.open_run("narrow_0").posterior(
        displacement=images, draws=4000, recalibrated="all"
    )
    assert np.quantile(draws["depth"], 0.95, axis=1) == pytest.approx(
        math.exp(0.5 * norm.ppf(0.95)), rel=0.1
    )
    with pytest.raises(QexpError, match=r"made with posteriors that were calibrated otherwise"):
        package.predict("narrow_0", "images.npz", "wide.nc", draws=2000, interval=0.8)
    package.calibrate("narrow_0", observations=OBSERVATIONS, draws=DRAWS, seed=7)
    with pytest.raises(QexpError, match=r"made with posteriors that were calibrated otherwise"):
        package.predict(
            "narrow_0", "images.npz", "wide.nc", draws=2000, interval=0.8, recalibrated="all"
        )


def test_a_recalibration_that_cannot_be_is_refused(untested):
    package.calibrate("narrow_0", observations=200, draws=20, device="cpu")
    for asked, words in (
        ({"recalibrated": "all", "seed": 0}, "these observations made the factors"),
        ({"recalibrated": "test"}, "no calibration on the test part is kept"),
        ({"recalibrated": "tset"}, "did you mean 'test'"),
        ({"recalibrated": "all", "refined": True}, "leave one out"),
    ):
        with pytest.raises(QexpError, match=words):
            package.calibrate("narrow_0", observations=200, draws=20, **asked)


def test_factors_depend_on_where_the_estimates_lie():
    """Posteriors that are too narrow for one half of the estimates, and too wide for a quarter of
    the others.
    """
    random, marginal = np.random.default_rng(0), of_training("depth", normal(0.0, 1.0), 1.0)

    def simulated(count):
        medians, beside = random.normal(size=(2, count))
        # that are claimed, of those that are right
        widths = np.where(medians > 0, 0.5, np.where(beside > 0, 1.0, 2.0))
        truth = medians + 0.1 * random.normal(size=count)
        ends = medians + 0.1 * widths * norm.ppf([0.05, 0.5, 0.95])[:, None]
        others = beside + np.array([[-0.1], [0.0], [0.1]])
        return np.stack([truth, beside], axis=1), np.stack([ends, others], axis=-1), widths

    truth, ends, _ = simulated(40_000)
    made = Recalibration([marginal] * 2, truth, np.moveaxis(ends, 0, -1), [1, 0])
    truth, (low, median, high), widths = simulated(20_000)
    for probability in (0.5, 0.9):
        factors = made.factors(median, probability)[:, 0]
        inside = (truth[:, 0] > median[:, 0] + factors * (low - median)[:, 0]) & (
            truth[:, 0] < median[:, 0] + factors * (high - median)[:, 0]
        )
        for width in (0.5, 1.0, 2.0):
            assert inside[widths == width].mean() == pytest.approx(probability, abs=0.02)
            right = norm.ppf((1 + probability) / 2) / norm.ppf(0.95) / width
            assert np.median(factors[widths == width]) == pytest.approx(right, rel=0.1)
    with pytest.raises(QexpError, match="cannot promise"):
        made.factors(median, 1 - 1e-6)

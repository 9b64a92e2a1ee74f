"""Studies: what runs, what is counted, what is written; with brief runs of real processes."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qexp
from qexp import api
from qexp.comparison import study
from qexp.comparison.study import StudyOrder
from qexp.figures.seeds import Line, OfSeeds, floored, layout_of, study_panels
from qexp.figures.writing import save
from qexp.metrics.meaning import HIGHEST, Meaning
from qexp.runs.order import Order, Pretraining, StudiedOptions, StudyOptions, read_overrides
from tests.conftest import SOUND, Specs, call, put, shared_folder
from tests.runs.conftest import until

PNG = b"\x89PNG"


def experiences(specs: Specs) -> None:
    specs.write("experience", put(SOUND["experience"], "learning_rate", 3e-3), "quick")
    specs.write("experience", put(SOUND["experience"], "pretrain", "nothing_yet"), "tuned")


ORDER = Order(["sound", "quick"], range(2), grid={"epochs": [1, 2]}, device="cpu")

TUNED = Order(["tuned", "sound"], range(2), overrides={"epochs": 1}, device="cpu")

PRETRAINING = Pretraining("sound", {"epochs": [1, 2]})


@shared_folder
def trained_for_studies(root):
    """The runs of two studies, trained in this process: a process for each takes ten times as
    long.
    """
    experiences(Specs(root))
    pretrained = (TUNED, PRETRAINING)
    # first those to start from, then those others
    for order, first in ((ORDER, None), pretrained, pretrained):
        for plan in api.planned_study(order, pretraining=first, workspace=root)[0]:
            changes = {
                "overrides": read_overrides("--set", plan.overrides),
                "name": plan.name,
                "seed": plan.seed,
            }
            qexp.run(plan.experience, **changes, device="cpu", workspace=root)


@pytest.fixture(scope="module")
def studied(trained_for_studies, tmp_path_factory):
    """A workspace with a study over epochs, and one of pretraining that starts from runs of it; for
    reading only.
    """
    root = tmp_path_factory.mktemp("studied") / "workspace"
    shutil.copytree(trained_for_studies, root)
    plain = qexp.study(ORDER, metric="depth.mae", workspace=root)
    return (
        root,
        plain,
        qexp.study(TUNED, pretraining=PRETRAINING, metric="depth.mae", workspace=root),
    )


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.heavy
def test_a_study_writes_a_row_for_each_run_with_the_numbers_of_its_record_and_a_document(studied):
    root, plain, _ = studied
    assert plain.folder == root / "studies" / "sound_epochs"
    written = rows(plain.folder / "study.csv")
    assert [(row["experience"], row["epochs"], row["seed"]) for row in written] == [
        (name, epochs, seed) for name in ("sound", "quick") for epochs in "12" for seed in "01"
    ]
    for row in written:
        run = qexp.open_run(row["run"], workspace=root)
        assert (run.spec["epochs"], run.record["seed"]) == (int(row["epochs"]), int(row["seed"]))
        assert float(row["depth.mae"]) == run.results["test"]["depth"]["mae"]
    assert (plain.folder / "study.png").read_bytes().startswith(PNG)
    document = json.loads(json.dumps(plain.document()))
    assert document["axes"] == ["epochs"]
    assert [point["values"] for point in document["points"]] == [{"epochs": "1"}, {"epochs": "2"}]


@pytest.mark.heavy
def test_a_study_prints_as_tables_and_becomes_a_data_frame_and_has_as_many_seeds_as_in_the_shell(
    studied,
):
    _, plain, _ = studied
    assert "| epochs |" in repr(plain.results())
    assert str(plain).startswith("Study of depth mae over epochs\n")
    frame = plain.to_pandas()
    assert {"experience", "epochs", "mean"} <= {*frame.columns}
    assert StudiedOptions("sound", metric="depth.mae").order.seeds == range(5)


@pytest.mark.heavy
def test_means_and_paired_differences_are_those_of_the_rows(studied):
    _, plain, _ = studied
    values = {
        (row["experience"], row["epochs"], row["seed"]): float(row["depth.mae"])
        for row in rows(plain.folder / "study.csv")
    }
    table = rows(plain.folder / "table.csv")
    assert len(table) == 6  # two experiences and their difference, at two values
    for row in table:
        first = [values[row["experience"], row["epochs"], seed] for seed in "01"]
        other = (
            [values[row["minus"], row["epochs"], seed] for seed in "01"] if row["minus"] else [0, 0]
        )
        sample = [one - two for one, two in zip(first, other, strict=True)]
        assert int(row["n"]) == 2
        assert float(row["mean"]) == pytest.approx(sum(sample) / 2)
        # Student's quantile with one degree of freedom, that of Cauchy's distribution; those of
        # differences hold for both outputs at once.
        half_width = (
            math.tan(math.pi * (0.4875 if row["minus"] else 0.475)) * abs(sample[0] - sample[1]) / 2
        )
        assert float(row["interval_high"]) - float(row["mean"]) == pytest.approx(half_width)


@pytest.mark.heavy
def test_a_second_call_runs_nothing_and_writes_the_same_bytes(studied):
    root, plain, _ = studied
    before = {path: path.read_bytes() for path in plain.files}
    runs = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("run.json")}
    options = ("--seeds", "0:2", "--metric", "depth.mae", "--device", "cpu", "--workspace", root)
    code, stdout, stderr = call("study", "sound", "quick", "--grid", "epochs=1,2", *options)
    assert (code, stderr) == (0, "8 done already\n")
    assert "depth mae, test" in stdout
    assert "sound minus quick, seed by seed" in stdout
    assert {path: path.read_bytes() for path in plain.files} == before
    assert {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("run.json")} == runs


@pytest.mark.heavy
def test_runs_start_from_the_run_of_their_value_of_pretraining_and_others_are_the_same_at_all(
    studied,
):
    root, _, pretrained = studied
    written = rows(pretrained.folder / "study.csv")
    assert [(row["experience"], row["epochs"], row["seed"]) for row in written] == [
        ("tuned", "1", "0"), ("tuned", "1", "1"), ("tuned", "2", "0"), ("tuned", "2", "1"),
        ("sound", "", "0"), ("sound", "", "1"),
    ]  # fmt: skip
    for row in written:
        if row["start"]:
            start = qexp.open_run(row["start"], workspace=root)
            assert (start.spec["epochs"], start.record["seed"]) == (int(row["epochs"]), 0)
            assert qexp.open_run(row["run"], workspace=root).record["parents"]
        assert (row["pretraining"], row["overrides.epochs"]) == ("sound", "1")
    assert pretrained.results().title == "depth mae, test; epochs=1, pretraining=sound"
    table = rows(pretrained.folder / "table.csv")
    assert [(row["experience"], row["minus"], row["epochs"]) for row in table] == [
        ("tuned", "", "1"),
        ("sound", "", ""),
        ("tuned", "", "2"),
        ("tuned", "sound", "1"),
        ("tuned", "sound", "2"),
    ]


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["sizes.0"], ["sizes.0"]),
        (["dataset.fixed.noise"], ["noise"]),
        (["sizes.0", "model.sizes.0"], ["sizes.0", "model.sizes.0"]),
        (["dataset.layers.2.1"], ["layers.2.1"]),
        (["sizes.0,epochs"], ["sizes.0,epochs"]),
    ],
)
def test_an_axis_has_the_last_step_of_its_key_that_is_no_number(keys, names):
    axes = StudyOrder(
        Order(["any"], [0], grid={key: [[1, 2]] for key in keys}), StudyOptions()
    ).axes
    assert [axis.name for axis in axes] == names
    assert ("training samples" in [axis.label for axis in axes]) == ("sizes.0" in names)


@pytest.mark.heavy
def test_a_dry_run_names_the_runs_to_start_from_and_writes_nothing(specs, qexp):
    experiences(specs)
    pretraining = (
        "--pretrain",
        "sound",
        "--pretrain-grid",
        "epochs=1,2",
        "--pretrain-seed",
        "same",
    )
    code, stdout, stderr = qexp("study", "tuned", *pretraining, "--seeds", "3:5", "--dry-run")
    assert code == 0
    said = [line.rpartition("_")[2] for line in stdout.splitlines()]
    assert said == ["3  epochs=1", "4  epochs=1", "3  epochs=2", "4  epochs=2"]
    assert "planned when they are done" in stderr
    assert "depth mae would be drawn in studies/tuned_epochs_" in stderr
    assert not (specs.root / "runs").exists()
    assert not (specs.root / "studies").exists()


@pytest.mark.heavy
def test_a_dry_run_says_what_is_done_already_and_a_study_can_be_compared_by_its_folder_and_name(
    studied,
):
    root, plain, _ = studied
    said = []
    assert api.planned_study(ORDER, metric="depth.mae", tell=said.append, workspace=root) == (
        [],
        True,
    )
    assert said[1:] == ["8 done already"]
    by_folder, by_name = (
        qexp.compare(study, figures=False, workspace=root)
        for study in (str(plain.folder), plain.folder.name)
    )
    assert [group["runs"] for group in by_folder.document()["groups"]] == [
        group["runs"] for group in by_name.document()["groups"]
    ]
    assert len(by_folder.document()["groups"]) == 4


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("asked", "folder", "lost"),
    [
        (("--metric", "depth"), "sound_epochs", ""),
        (("--set", "learning_rate=1e-3"), "sound_epochs_[0-9a-f]{6}", ""),
        (("--grid", "batch_size=2,4"), "sound_epochs_batch_size", ""),
        (("--metric", "r2"), r"sound_epochs_depth\.r2", ""),
        (("--seeds", "1:3"), "sound_epochs", "of other runs, sound"),
        (("--metric", "r2", "--out", "studies/sound_epochs"), "sound_epochs", "of depth mae"),
    ],
)
def test_a_study_of_other_settings_has_another_name_and_one_of_other_runs_or_metric_is_not_lost(
    studied, asked, folder, lost, monkeypatch
):
    monkeypatch.chdir(studied[0])
    stderr = call(
        "study",
        "sound",
        "quick",
        "--grid",
        "epochs=1,2",
        *(() if "--seeds" in asked else ("--seeds", "0:2")),
        "--dry-run",
        *asked,
    ).stderr
    assert re.search(
        (
            rf"would be drawn in studies/{folder}\n"
            if not lost
            else f"studies/{folder} holds a study {lost}"
        ),
        stderr,
    )


EPOCHS = ("--grid", "epochs=1,2")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (("sound",), "give --grid"),
        (("sound", "--grid", "epoch=1,2"), "did you mean 'epochs'"),
        (
            ("sound", "--grid", "epochs=1,all"),
            "error: --grid epochs at $.epochs: must be a whole number",
        ),
        (
            ("sound", "--grid", "sizes=8,16"),
            "but is the number 8; for one of its numbers --grid sizes.0=8,16\n",
        ),
        (
            ("sound", "--grid", "size.0=8,16"),
            "--grid size.0 at $.size: unknown key 'size'; did you mean 'sizes'?",
        ),
        (("sound", *EPOCHS, "--set", "sizes=8"), "for one of its numbers --set sizes.0=8\n"),
        (("sound", *EPOCHS, "--metric", "dept.mae"), "no output 'dept'; did you mean 'depth'"),
        (("sound", *EPOCHS, "--metric", "depth.ma"), "reports no 'ma'; did you mean 'mae'"),
        (
            ("sound", *EPOCHS, "--metric", "validation.depth.ma"),
            "reports no 'ma'; did you mean 'mae'",
        ),
        (("sound", *EPOCHS, "--pretrain-grid", "epochs=1"), "are for --pretrain EXPERIENCE"),
        (("sound", *EPOCHS, "--pretrain", "sound"), "has 'pretrain' in its spec"),
        (("sound", *EPOCHS, "--pretrain", "soundd"), "no experience 'soundd'"),
        (("tuned", *EPOCHS, "--pretrain", "sound", "--pretrain-seed", "x"), "or 'same'"),
        (("sound", "--grid", "epochs=1,1.0"), "would be the same"),
        (("sound", "sound", *EPOCHS), "sound is named twice"),
        (("sound", *EPOCHS, "--pretrain-seed", "same"), "are for --pretrain EXPERIENCE"),
        (("tuned", *EPOCHS, "--pretrain", "sound", "--seeds", "x"), "write 0:10 for 0 to 9"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_runs(specs, qexp, asked, complaint):
    experiences(specs)
    code, _, stderr = qexp("study", *asked)
    assert code in (2, 3)
    assert complaint in stderr
    assert not (specs.root / "runs").exists()


@pytest.mark.heavy
def test_runs_that_fail_are_left_out_and_named_and_the_rest_is_drawn(specs):
    specs.spoil("experience", ("sizes", [16, 4, 4]))
    options = ("--seeds", "0", "--metric", "depth.mae", "--device", "cpu", "-j", "2")
    stderr = call("study", "sound", "--grid", "learning_rate=1e-3,1e30", *options).failed(4)
    failed = next(run["name"] for run in qexp.runs() if run["state"] == "failed")
    assert f"{failed} is failed, and is not counted" in stderr
    assert [row["state"] for row in rows(Path("studies/sound_learning_rate/study.csv"))] == [
        "done",
        "failed",
    ]
    stderr = call("study", "sound", "--grid", "learning_rate=1e-3,1e30", *options).failed(4)
    assert "1 done already" in stderr
    assert f"left alone, failed: {failed}; repeat with --only-failed" in stderr


@pytest.mark.heavy
def test_a_study_that_is_killed_goes_on_where_it_was(specs):
    command = [
        sys.executable,
        "-m",
        "qexp",
        "study",
        "sound",
        "--grid",
        "batch_size=2,4",
        "--seeds",
        "0",
    ]
    command += ["--set", "epochs=10", "--metric", "depth.mae", "--device", "cpu", "-j", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    until(lambda: any(list(Path("runs").glob("*/metrics.jsonl"))), "that a run trains")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    assert "repeat the command to continue" in stderr
    assert not Path("studies").exists()
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {run["state"] for run in qexp.runs()} == {"done"}
    assert len(rows(next(Path("studies").glob("sound_batch_size_*/study.csv")))) == 2


def test_numbers_that_span_far_lie_on_a_logarithmic_axis_and_words_after_the_last():
    near = layout_of(["1", "2", "4"])
    assert (near.logarithmic, near.positions) == (False, {"1": 1, "2": 2, "4": 4})
    far = layout_of(["10", "100", "1000", "all"])
    assert far.logarithmic
    assert far.positions["all"] == pytest.approx(10_000)
    known = layout_of(["10", "all", "500"], {"all": 823})
    assert known.positions["all"] == 823
    assert known.labels["all"] == "all (823)"
    words = layout_of(["adam", "sgd"])
    assert (words.logarithmic, words.positions) == (False, {"adam": 0, "sgd": 1})
    assert layout_of(["5"]).positions == {"5": 5}
    assert not layout_of(["0", "100"]).logarithmic


@pytest.mark.parametrize(
    "values", [["7"], ["10", "50", "100", "500", "all"], ["mean", "class"], ["0", "0.5", "0.75"]]
)
def test_a_study_of_any_values_is_drawn_with_and_without_intervals(tmp_path, values):
    spots = {text: OfSeeds([0.1, 0.2], 0.15, (-1.1, 1.4)) for text in values}
    single = {text: OfSeeds([0.1], 0.1, None) for text in values}
    panels = {"": {"a": Line(spots), "b": Line(single), "c": Line(spots, constant=True)}}
    save(study_panels(panels, "values", values, "r2"), tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(PNG)


def test_intervals_that_go_on_beyond_the_frame_end_in_arrows_and_others_within_it():
    wide, narrow = OfSeeds([0.1, 0.2], 0.15, (-1.1, 0.2)), OfSeeds([0.1, 0.2], 0.15, (0.05, 0.25))
    lines = {
        "a": Line({"1": wide, "2": narrow}),
        "b": Line({"": OfSeeds([0.1, 0.2], 0.15, (0.1, 3.0))}, constant=True),
    }
    figure = study_panels({"": lines}, "values", ["1", "2"], "r2")
    (axis,) = figure.axes
    arrows = {
        str(line.get_marker()): float(line.get_ydata()[0])
        for line in axis.lines
        if line.get_marker() in ("^", "v")
    }
    assert arrows == {"v": axis.get_ylim()[0], "^": axis.get_ylim()[1]}
    assert "arrows: intervals that go on beyond the frame" in figure.texts[0].get_text().replace(
        "\n", " "
    )


def drawn(figure, marker):
    lines = [line for axis in figure.axes for line in axis.lines]
    return [line for line in lines if str(line.get_marker()) == marker]


def test_the_best_mean_of_all_panels_is_ringed_and_what_has_no_run_breaks_its_line_at_a_cross():
    def single(value):
        return OfSeeds([value], value, None)

    whole = Line({text: single(0.1 * int(text)) for text in "123"})
    gap = Line({"1": single(0.5), "3": single(0.9)})
    panels = {"rate 1e-4": {"log": whole, "none": gap}, "rate 1e-5": {}}
    figure = study_panels(panels, "ratio", [*"123"], "r2", badness=Meaning(HIGHEST).badness)
    rings = [line for line in drawn(figure, "o") if line.get_markersize() > 10]
    assert [(*ring.get_xdata(), *ring.get_ydata()) for ring in rings] == [(3, 0.9)]
    crosses = drawn(figure, "x")
    assert len(crosses) == 1 + 6, "one of the first panel, all of the second"
    assert crosses[0].get_xdata()[0] == 2
    broken = figure.axes[0].get_legend_handles_labels()[0][1]
    assert np.isnan(broken.get_ydata()).tolist() == [False, True, False]
    assert not drawn(figure, "^"), "a single seed has no interval that could go on"
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["log", "none", "no run is done", "best mean"]


@pytest.mark.heavy
def test_a_study_over_three_keys_has_them_along_the_axis_as_lines_and_as_panels_of_either_part(
    specs, monkeypatch
):
    figures = []
    monkeypatch.setattr(study, "save", lambda figure, path: figures.append(figure))
    grid = {"epochs": [1, 2], "batch_size": [2, 4], "learning_rate": [1e-3, 1e-2]}
    order = Order(["sound"], [0], grid=grid, device="cpu")
    for plan in api.planned_study(order, workspace=specs.root)[0]:
        overrides = read_overrides("--set", plan.overrides)
        qexp.run("sound", overrides=overrides, name=plan.name, seed=0, workspace=specs.root)
    made = qexp.study(order, metric="validation.depth.mae", workspace=specs.root)
    (figure,) = figures
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == ["learning rate 0.001", "learning rate 0.01"]
    lines = dict(zip(*reversed(figure.axes[1].get_legend_handles_labels()), strict=True))
    assert set(lines) - {"best mean"} == {"batch size 2", "batch size 4"}
    assert (made.part, made.folder.name.count("validation.depth.mae")) == ("validation", 1)
    for row in rows(made.folder / "study.csv"):
        run = qexp.open_run(row["run"], workspace=specs.root)
        assert float(row["depth.mae"]) == run.results["validation"]["depth"]["mae"]
        if (row["learning_rate"], row["batch_size"], row["epochs"]) == ("0.01", "4", "2"):
            assert lines["batch size 4"].get_ydata()[1] == float(row["depth.mae"])


def test_one_failure_does_not_flatten_a_figure_and_is_counted(tmp_path):
    line = Line(
        {"1": OfSeeds([0.5, -9.0], -4.2, (-60.0, 50.0)), "2": OfSeeds([0.7, 0.8], 0.75, (0.1, 1.4))}
    )
    low, high, below = floored({"": {"a": line}}, -0.5)
    assert (low, below) == (-0.5, 1)
    assert 0.8 < high < 1.1
    low, high, below = floored({"": {"a": line}}, None)
    assert low < -9
    assert below == 0
    save(
        study_panels({"": {"a": line}}, "values", ["1", "2"], "r2", floor=-0.5),
        tmp_path / "study.png",
    )
    assert (tmp_path / "study.png").stat().st_size > 1000

"""What a program of others writes while it runs: its metrics become the run's epochs, its bar the progress."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from qexp.runs import followed
from qexp.runs.followed import MetricsFile, counted, place
from qexp.store.directory import RunDirectory
from qexp.web.drawings import curves
from qexp.web.run_page import progress_in_words
from tests.conftest import call, started
from tests.runs.conftest import until

Step = Callable[[Path], Any]


def append(text: str) -> Step:
    def step(file: Path) -> None:
        with file.open("a") as log:
            log.write(text)

    return step


def rewrite(text: str) -> Step:
    return lambda file: file.write_text(text)


def replace(text: str) -> Step:
    return lambda file: (file.with_suffix(".new").write_text(text), file.with_suffix(".new").replace(file))


def rotate(file: Path) -> None:
    file.replace(file.with_suffix(".1"))


def nothing(file: Path) -> None: ...


@pytest.fixture
def follow(tmp_path, monkeypatch) -> Callable[..., list[dict[str, Any]]]:
    """Epochs of a file that is looked at after each step, as they are read from `metrics.jsonl`."""
    monkeypatch.setattr(followed, "SHARE", math.inf)

    def epochs(*steps: Step, again: bool = False, own: bool = True) -> list[dict[str, Any]]:
        metrics = MetricsFile(tmp_path / "log", tmp_path / "metrics.jsonl", again=again, own=own)
        for step in steps:
            step(tmp_path / "log")
            metrics.look()
        metrics.look(last=True)
        return RunDirectory(tmp_path).metrics()

    return epochs


def losses(epochs: list[dict[str, Any]]) -> list[tuple[float, float | None, float | None]]:
    return [(line.get("step", line["epoch"]), line["train"]["loss"], line["validation"]["loss"]) for line in epochs]


ONE, TWO, THREE = ((epoch, 1 / epoch, 2 / epoch) for epoch in (1, 2, 3))


def as_json(*lines: tuple[float, float, float]) -> str:
    return "".join(json.dumps(dict(zip(("epoch", "loss", "val_loss"), line, strict=True))) + "\n" for line in lines)


def as_csv(*lines: tuple[float, float, float], header: str = "epoch,train_loss,val_loss\n") -> str:
    return header + "".join(",".join(map(str, line)) + "\n" for line in lines)


@pytest.mark.parametrize(
    "steps",
    [
        [nothing, append(as_json(ONE, TWO, THREE))],
        [append(as_json(ONE)), append(as_json(TWO)), nothing, append(as_json(THREE).rstrip())],
        [append(as_json(ONE, TWO)[:-9]), append(as_json(ONE, TWO)[-9:]), append(as_json(THREE) + '{"epoch": 4, "lo')],
        [append(as_csv(ONE, TWO)), append(as_csv(THREE, header=""))],
        [append(as_csv(ONE, TWO, THREE).replace(",", ";") + "4;0.1")],
        [append("step,loss\n1,1.0\n2,0.5\n"), append("step,val_loss\n2,1.0\n"), rewrite(as_csv(ONE, TWO, THREE))],
        [rewrite(as_csv(ONE)), replace(as_csv(ONE, TWO)), replace(as_csv(ONE, TWO, THREE))],
        [append(as_json(ONE)), rotate, append(as_json(TWO)), rotate, append(as_json(THREE))],
        [append(as_json(ONE, TWO)), rewrite(""), append(as_json(THREE))],
        [append(as_json(ONE, (2, 9, 9), (3, 9, 9))), append(as_json(TWO, THREE))],
        [append('not JSON\n\n{"epoch": 1, "loss": 1}\n{"val_loss": 2, "name": "x"}\n' + as_json(TWO, THREE))],
        [append('{"epoch": 1, "train": {"loss": 1}, "valid": {"loss": 2}}\n' + as_json(TWO, THREE) + "[[" * 9 + "{\n")],
    ],
    ids=[
        "late", "appended", "half-lines", "CSV", "semicolons", "columns-that-come", "replaced", "rotated", "truncated",
        "trained-again", "rows-of-one-epoch", "nested",
    ],
)  # fmt: skip
def test_whatever_a_program_does_to_its_file_its_epochs_are_these(follow, steps):
    assert losses(follow(*steps)) == [ONE, TWO, THREE]


def test_lines_without_numbers_are_counted_also_after_a_rotation_and_numbers_of_their_own_are_kept(follow):
    one, two = '{"loss": 1}\n', '{"loss": 2}\n'
    after = '{"loss": 3}\n'
    epochs = follow(append(one), append(two), rotate, append(after), replace(after + one))
    assert losses(epochs) == [(1, 1, None), (2, 2, None), (3, 3, None), (4, 1, None)]


def test_numbers_that_are_not_finite_are_null_with_a_mark_and_never_the_best(follow):
    lines = [
        '{"step": 10, "val_loss": NaN}',
        '{"step": 20, "val_loss": 0.5, "lr": 1e-3}',
        '{"step": 30, "val_loss": Infinity}',
    ]
    first, second, third = follow(append("\n".join(lines)))
    assert [first["validation"]["loss"], first["not_finite"]] == [None, {"validation.loss": "nan"}]
    assert [line["best"] for line in (first, second, third)] == [False, True, False]
    (panel,) = curves({"": [first, second, third]}, {})
    assert panel["x"] == [10, 20], "the numbers of the program, up to the last finite value"
    assert second["learning_rate"] == 1e-3


def test_what_was_in_the_file_before_is_not_this_attempts_unless_it_continues_its_own(follow, tmp_path):
    (tmp_path / "log").write_text(as_csv((1, 9, 9), (2, 9, 9), (7, 9, 9)))
    assert losses(follow(append(as_csv(ONE, header="")))) == [ONE]
    continued = follow(append(as_csv(TWO, header="")), again=True, own=False)
    assert losses(continued) == [ONE, TWO]
    assert losses(follow(rewrite(as_csv(ONE)), rewrite(as_csv(ONE, TWO)), again=True)) == [ONE, TWO]
    assert losses(follow(rewrite(as_csv(ONE, TWO)))) == [ONE, TWO], "written anew with the same content"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("loss", ("train", "result", "loss")),
        ("val_loss", ("validation", "result", "loss")),
        ("Eval/depth.mae", ("validation", "depth", "mae")),
        ("test_rmse", ("test", "result", "rmse")),
        ("trainable", ("train", "result", "trainable")),
        ("train/loss/depth", ("train", "losses", "depth")),
        ("top-5 (%)", ("train", "result", "top-5_")),
        ("5 %", ("train", "result", "m_5_")),
    ],
)
def test_names_say_part_output_and_metric(name, where):
    assert place(name) == where


@pytest.mark.parametrize(
    ("log", "progress", "count"),
    [
        ("before 10%|#  | 1/10 [\r 45%|####5     | 45/100 [00:10<00:12,  4.5it/s]\nlast words", None, (45, 100)),
        ("  4%|4     | 1.20k/30.0k [00:10<00:12]", None, (1200, 30000)),
        ("45it [00:10, 4.50it/s]", None, None),
        ("1%| | 1/9 [", "tqdm\n 20%|## | 2/10 [", (2, 10)),
        ("", "count_total=8\n1\n2\n", (3, 8)),
        ("", "count_total=8\n1\nfinished", (8, 8)),
        ("", "count_total=", None),
    ],
)
def test_progress_is_the_last_bar_of_tqdm_or_what_qanat_counts(tmp_path, log, progress, count):
    (tmp_path / "log.txt").write_text(log)
    if progress is not None:
        (tmp_path / "progress.txt").write_text(progress)
    assert counted(tmp_path / "log.txt", 0, tmp_path / "progress.txt") == count


PROGRAM = """
import json, os, sys, time
with open(sys.argv[1], "a") as log:
    for epoch in range(3):
        line = {"step": 100 * epoch, "loss": 1 - epoch / 4, "val_loss": 2 - epoch / 4, "val_mae": 3}
        print(json.dumps(line), file=log)
    log.flush()
    print(" 30%|###       | 3/10 [00:01<00:02]", file=sys.stderr)
    while not os.path.exists("go"): time.sleep(0.05)
    log.write('{"step": 300, "val_loss": 0.5, "val_mae": 1}\\n{"step": 400, "va')
"""


@pytest.fixture
def experience(tmp_path, monkeypatch) -> Callable[..., None]:
    """`experience(command=["true"])`: one of the name `own`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs/experiences").mkdir(parents=True)
    file = tmp_path / "specs/experiences/own.json"
    return lambda **keys: file.write_text(json.dumps({"type": "command", **keys}))


@pytest.mark.slow
def test_epochs_are_there_while_the_program_runs_and_the_last_ones_numbers_are_its_results(experience):
    Path("own.py").write_text(PROGRAM)
    experience(command=[sys.executable, "own.py", "{run}/log.jsonl", "{seed}"], metrics_file="{run}/log.jsonl")
    process = started(Path.cwd(), "run", "own", "--seed", "0")
    until(lambda: "3/10" in call("status").stdout, "the bar counts the epochs")
    run = package.open_run("own_0")
    assert losses(run.directory.metrics()) == [(0, 1, 2), (100, 0.75, 1.75), (200, 0.5, 1.5)]
    assert progress_in_words(run.directory, run.directory.record(), 3).startswith("epoch 3 of 10")
    Path("go").touch()
    assert 'are no rows of numbers: 1, such as b\'{"step": 400, "va\'' in process.communicate()[1]
    assert run.record["epochs"] == {"done": 4, "of": 10, "best": 4}
    assert run.results == {"validation": {"result": {"loss": 0.5, "mae": 1}}}
    assert "identical" in call("verify", "own_0").done()
    assert call("ls", "--columns", "name,validation.loss").done().splitlines()[1].split() == ["own_0", "0.5"]


@pytest.mark.parametrize(
    ("name", "why"), [("{run}/metrics.jsonl", "in which qexp keeps the epochs"), ("{results}", "no placeholder")]
)
def test_a_metrics_file_that_cannot_be_one_is_an_error(experience, name, why):
    experience(command=["true", "{seed}"], metrics_file=name)
    assert why in call("run", "own").stderr

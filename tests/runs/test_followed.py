"""What a program of others writes while it runs: its metrics become the run's epochs, its bar the
progress.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from qexp.runs import followed, notice
from qexp.runs.followed import MetricsFile, counted, place
from qexp.store.directory import RunDirectory
from qexp.web.drawings import curves
from qexp.web.run_page import progress_in_words
from tests.conftest import call, started
from tests.runs.conftest import until

Step = Callable[[Path], Any]


def rewrite(text: str) -> Step:
    return lambda file: file.write_text(text)


def append(text: str) -> Step:
    return lambda file: file.write_text((file.read_text() if file.exists() else "") + text)


def replace(text: str) -> Step:
    return lambda file: (
        file.with_suffix(".new").write_text(text),
        file.with_suffix(".new").replace(file),
    )


def append_and_rotate(text: str) -> Step:
    return lambda file: (append(text)(file), file.replace(file.with_suffix(".1")))


Epochs = list[tuple[float, float | None, float | None]]
"""Number, loss and validation loss of each."""


@pytest.fixture
def follow(tmp_path, monkeypatch) -> Callable[..., Epochs]:
    """What is kept of a file that is looked at before and after each step."""
    monkeypatch.setattr(followed, "SHARE_OF_TIME", math.inf)
    monkeypatch.setattr(followed, "CHUNK_BYTES", 11)

    def epochs(*steps: Step, again: bool = False) -> Epochs:
        metrics = MetricsFile(tmp_path / "log", tmp_path / "metrics.jsonl", again=again)
        for step in steps:
            metrics.look()
            step(tmp_path / "log")
        metrics.look(last=True)
        return losses(RunDirectory(tmp_path).metrics())

    return epochs


def losses(lines: list[dict[str, Any]]) -> Epochs:
    parts = ("train", "validation")
    return [
        (line.get("step", line["epoch"]), *(line[part]["loss"] for part in parts)) for line in lines
    ]


ONE, TWO, THREE = ((epoch, 1 / epoch, 2 / epoch) for epoch in (1, 2, 3))


def as_json(*lines: tuple[float, float, float]) -> str:
    return "".join(
        json.dumps(dict(zip(("epoch", "loss", "val_loss"), line, strict=True))) + "\n"
        for line in lines
    )


def as_csv(*lines: tuple[Any, float, float], header: str = "epoch,train_loss,val_loss\n") -> str:
    return header + "".join(",".join(map(str, line)) + "\n" for line in lines)


OF_PANDAS = as_csv(
    *((f"0,{epoch}", *rest) for epoch, *rest in (ONE, TWO, THREE)), header=",epoch,loss,val_loss\n"
)

WAYS = {
    "half lines": [
        append(as_json(ONE, TWO)[:-9]),
        append(as_json(ONE, TWO)[-9:]),
        append(as_json(THREE) + '{"epo'),
    ],
    "no last end": [append(as_json(ONE)), append(as_json(TWO, THREE).rstrip())],
    "CSV": [append(as_csv(ONE, TWO)), append(as_csv(THREE, header=""))],
    "semicolons": [append(as_csv(ONE, TWO, THREE).replace(",", ";") + ";;\n4;0.1")],
    "pandas": [rewrite(OF_PANDAS.replace(",", "\t"))],
    "columns": [
        append("step,loss\n1,1\n2,0.5\n"),
        append("step,val_loss\n2,1\n"),
        rewrite(as_csv(ONE, TWO, THREE)),
    ],
    "replaced": [rewrite(as_csv(ONE)), replace(as_csv(ONE, TWO)), replace(as_csv(ONE, TWO, THREE))],
    "rotated": [append(as_json(ONE)), append_and_rotate(as_json(TWO)), append(as_json(THREE))],
    "truncated": [append(as_json(ONE, TWO)), rewrite(""), append(as_json(THREE))],
    "trained again": [append(as_json(ONE, (2, 9, 9), (3, 9, 9))), append(as_json(TWO, THREE))],
    "rows of an epoch": [
        append('words\n\n{"epoch": 1, "loss": 1}\n{"val_loss": 2, "a": ""}\n' + as_json(TWO, THREE))
    ],
    "nested": [
        append(
            '{"epoch": 1, "train": {"loss": 1}, "valid": {"loss": 2}}\n'
            + as_json(TWO, THREE)
            + "[[" * 9
        )
    ],
}


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
def test_whatever_a_program_does_to_its_file_its_epochs_are_these(follow, steps):
    assert follow(*steps) == [ONE, TWO, THREE]


def test_lines_without_numbers_are_counted_also_after_a_rotation_and_of_an_attempt_that_goes_on(
    follow,
):
    one, two, three = (f'{{"loss": {loss}}}\n' for loss in (1, 2, 3))
    follow(
        rewrite(one),
        rewrite(""),
        rewrite(one),
        append_and_rotate(two),
        append(three),
        replace(three + one),
    )
    epochs = follow(append(two), again=True)
    assert epochs == [(1, 1, None), (2, 2, None), (3, 3, None), (4, 1, None), (5, 2, None)]
    assert follow(again=True) == epochs, "also if nothing is written any more"


def test_numbers_that_are_not_finite_are_null_with_a_mark_and_never_the_best(follow, tmp_path):
    numbers = ((10, "NaN"), (20, '0.5, "lr": 1e-3'), (30, "Infinity"))
    follow(append("\n".join(f'{{"step": {step}, "val_loss": {loss}}}' for step, loss in numbers)))
    first, second, third = lines = RunDirectory(tmp_path).metrics()
    assert [first["validation"]["loss"], first["not_finite"]] == [None, {"validation.loss": "nan"}]
    assert [line["best"] for line in (first, second, third)] == [False, True, False]
    (panel,) = curves({"": lines}, {})
    assert panel.x == [10, 20], "the numbers of the program, up to the last finite value"
    assert second["learning_rate"] == 1e-3


def test_what_was_in_the_file_before_is_not_this_attempts(follow, tmp_path):
    (tmp_path / "log").write_text(as_csv((1, 9, 9), (2, 9, 9), (7, 9, 9)) + "8,")
    assert follow(append(as_csv(ONE, header=""))) == [ONE]
    assert follow(append(as_csv(TWO, header="")), again=True) == [ONE, TWO]
    assert follow(rewrite(as_csv(ONE)), rewrite(as_csv(ONE, TWO)), again=True) == [ONE, TWO]
    os.utime(tmp_path / "log", (0, 0))
    assert follow(rewrite(as_csv(ONE, TWO))) == [ONE, TWO], "written anew with the same content"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("loss", "train result loss"),
        ("val_loss", "validation result loss"),
        ("trainable", "train result trainable"),
        ("Eval/depth.mae", "validation depth mae"),
        ("train/loss/depth", "train losses depth"),
        ("top-5 (%)", "train result top-5_"),
        ("5 %", "train result m_5_"),
    ],
)
def test_names_say_part_output_and_metric(name, where):
    assert place(name) == tuple(where.split())


@pytest.mark.parametrize(
    ("log", "progress", "count"),
    [
        (
            "before 10%|#  | 1/10 [\r 45%|####5     | 45/100 [00:10<00:12,  4.5it/s]\nlast words",
            None,
            (45, 100),
        ),
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
    return lambda **keys: Path("specs/experiences/own.json").write_text(
        json.dumps({"type": "command", **keys})
    )


@pytest.mark.heavy
def test_epochs_are_there_while_the_program_runs_and_the_last_ones_numbers_are_its_results(
    experience,
):
    Path("own.py").write_text(PROGRAM)
    experience(
        command=[sys.executable, "own.py", "{run}/log.jsonl", "{seed}"],
        metrics_file="{run}/log.jsonl",
    )
    process = started(Path.cwd(), "run", "own", "--seed", "0")
    until(lambda: "3/10" in call("status").stdout, "the bar counts the epochs")
    run = package.open_run("own_0")
    assert losses(run.directory.metrics()) == [(0, 1, 2), (100, 0.75, 1.75), (200, 0.5, 1.5)]
    assert progress_in_words(run.directory, run.directory.record(), 3).startswith("epoch 3 of 10")
    Path("go").touch()
    process.communicate()
    assert run.record["epochs"] == {"done": 4, "of": 10, "best": 4}
    assert run.results == {"validation": {"result": {"loss": 0.5, "mae": 1}}}
    assert "identical" in call("verify", "own_0").done()
    assert call("ls", "--columns", "name,validation.loss").done().splitlines()[1].split() == [
        "own_0",
        "0.5",
    ]


def test_numbers_are_found_in_what_a_program_prints_by_a_pattern(experience):
    program = (
        "for e in 1 2; do printf 'epoch %d: %s\\rloss=0.%d val_loss=1e-%d\\n' $e {seed} $e $e;"
        " done; echo test_mae=3"
    )
    pattern = (
        r"epoch (?P<epoch>\d+)|\bloss=(?P<loss>\S+)"
        r" val_loss=(?P<val_loss>\S+)|test_mae=(?P<test_mae>\S+)"
    )
    experience(command=["sh", "-c", program], numbers=pattern)
    call("run", "own").done()
    run = package.open_run("own_0")
    assert losses(run.directory.metrics()) == [(1, 0.1, 0.1), (2, 0.2, 0.01)]
    assert run.results["test"] == {"result": {"mae": 3}}


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("loss=(", "is not a regular expression"),
        (r"loss=(\S+)", "names no number"),
        ("(?P<loss>.)", "keep one of the two"),
    ],
)
def test_a_pattern_that_can_find_no_number_is_an_error(experience, pattern, words):
    more = {"metrics_file": "log"} if "two" in words else {}
    experience(command=["true", "{seed}"], numbers=pattern, **more)
    assert words in call("run", "own").stderr


def test_a_command_of_the_user_is_notified_of_a_run_that_fails_and_of_the_end_of_a_launch(
    experience,
):
    Path("qexp.toml").write_text(
        "notify = \"sh -c 'cat >> notices; echo {state} {name} >> notices'\""
    )
    experience(command=["sh", "-c", "exit {seed}"])
    assert call("run", "own", "--seeds", "0:2", "-j", "2").code == 4
    (launch,) = (folder.name for folder in Path("runs/.launches").iterdir())
    failure = "own_1 failed: exit code 1\nfailed own_1\n"
    end = f"launch {launch} has ended: 1 done, 1 failed (own_1)\n"
    assert Path("notices").read_text() == f"{failure}{end}failed {launch}\n"
    Path("qexp.toml").write_text('notify = "mail {mesage}"')
    assert "did you mean 'message'" in call("run", "own", "--seed", "2").stderr


def test_nobody_is_notified_of_a_run_that_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("qexp.toml").write_text("notify = \"sh -c 'cat >> notices'\"")
    for error in (KeyboardInterrupt(), ValueError("too far")):
        with pytest.raises(type(error)), package.track("fit"):
            raise error
    assert Path("notices").read_text() == "fit_1 failed: ValueError: too far\n"


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'echo {message}'",
        "env bash -lc {message}",
        "/bin/perl -e '{workspace}'",
        "ssh lab echo {message}",
    ],
)
def test_a_message_is_no_part_of_what_a_shell_executes(experience, command):
    Path("qexp.toml").write_text(f'notify = "{command}"')
    experience(command=["true", "{seed}"])
    refused = call("run", "own", "--seed", "2")
    assert (refused.code, "notify would execute what stands in" in refused.stderr) == (2, True), (
        refused.stderr
    )


def test_a_message_is_a_line_of_bounded_length_and_no_child_holds_the_end(experience, monkeypatch):
    monkeypatch.setattr(notice, "LONGEST_SECONDS", 5)
    text = 'sleep 60 & echo $! > child; printf %s \\"$1\\" > word; cat > input'
    Path("qexp.toml").write_text(f"notify = \"sh -c '{text}' sh {{message}}\"")
    for error in ("two\nlines; touch made #", "x" * 10**6):
        with pytest.raises(ValueError, match=error[:3]), package.track("fit") as run:
            raise ValueError(error)
        os.kill(int(Path("child").read_text()), 9)
        word, whole = Path("word").read_text(), Path("input").read_text()
        assert word.startswith(f"{run.name} failed: ValueError: {error[:3]}")
        assert ("\n" in word, len(word) <= 1000, len(whole) > len(error)) == (False, True, True)
    assert not Path("made").exists()


@pytest.mark.heavy
def test_runs_that_write_their_metrics_to_the_same_file_wait_for_each_other(experience):
    script = (
        'for e in 0 1 2; do echo "{{\\"epoch\\": $e, \\"loss\\": {seed}}}" >> log; sleep 0.2; done'
    )
    experience(command=["sh", "-c", script], metrics_file="log")
    call("run", "own", "--seeds", "1:3", "-j", "2").done()
    for seed in (1, 2):
        lines = package.open_run(f"own_{seed}").directory.metrics()
        assert [line["train"]["loss"] for line in lines] == [seed] * 3


def test_a_metrics_file_that_cannot_be_one_is_an_error(experience):
    experience(command=["true", "{seed}"], metrics_file="{results}")
    assert "no placeholder" in call("run", "own").stderr


@pytest.mark.parametrize(
    "declared", [{}, {"metrics_file": "{run}/metrics.jsonl"}], ids=["", "declared"]
)
def test_a_program_may_write_a_metrics_jsonl_of_its_own_into_its_run(experience, declared):
    written = {"epoch": 0, "val_loss": 1.5}
    text = json.dumps(written).replace("{", "{{").replace("}", "}}")
    experience(
        command=["sh", "-c", f"echo '{text}' > {{run}}/metrics.jsonl # {{seed}}"], **declared
    )
    call("run", "own").done()
    run = package.open_run("own_0")
    assert losses(run.directory.metrics()) == [(0, None, 1.5)]
    assert json.loads((run.path / "metrics.jsonl").read_text()) == written
    assert "1.5" in call("ls", "--columns", "name,validation.loss").done()
    assert call("verify", "own_0").code == call("doctor").code == 0


BOTH = """import json, os, sys, time
run, first = sys.argv[1], int(sys.argv[2])
for epoch in (first, first + 1):
    for name, line in (("metrics.jsonl", {"mine": epoch}), ("log.jsonl", {"epoch": epoch, "val_loss": 1 / epoch})):
        print(json.dumps(line), file=open(f"{run}/{name}", "a"))
while first == 1: time.sleep(0.05)
"""


@pytest.mark.heavy
def test_a_metrics_jsonl_of_a_program_is_not_touched_beside_the_file_that_is_followed_wherever_the_run_goes(
    experience,
):
    Path("own.py").write_text(BOTH)
    command = [sys.executable, "own.py", "{run}"]
    experience(
        command=[*command, "1", "{seed}"], resume=[*command, "3"], metrics_file="{run}/log.jsonl"
    )
    process = started(Path.cwd(), "run", "own", "--seed", "0")
    run = RunDirectory(Path("runs/own_0"))
    until(lambda: run.path.is_dir() and len(run.metrics()) == 2, "two epochs")
    process.terminate()
    process.communicate()
    call("run", "own", "--seed", "0", "--resume").done()
    epochs = [(number, None, 1 / number) for number in (1, 2, 3, 4)]
    mine = "".join(f'{{"mine": {number}}}\n' for number in (1, 2, 3, 4))
    call("push", "./remote", "own_0").done()
    call("export", "own_0", "--to", "own.zip").done()
    call("pull", "./remote", "own_0", "--name", "pulled").done()
    call("import", "own.zip", "--name", "imported").done()
    for name in ("own_0", "pulled", "imported"):
        run = RunDirectory(Path("runs") / name)
        assert losses(run.metrics()) == epochs
        assert (run.path / "metrics.jsonl").read_text() == mine
        assert run.record().epochs.done == 4
    assert call("doctor").code == 0

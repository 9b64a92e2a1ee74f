"""Actions: commands of one's own on runs, whose output is kept in the runs, complete or not at
all.
"""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

import qexp as package
from qexp.errors import QexpError
from tests.runs.conftest import until

PROGRAM = """
import os, pathlib, sys, time
print(sys.argv[1:])
pathlib.Path(os.environ["QEXP_ACTION_DIR"], "made.txt").write_text(os.getcwd())
time.sleep(float(os.environ.get("SECONDS_OF_ACTION", 0)))
sys.exit(int(os.environ.get("CODE_OF_ACTION", 0)))
"""


@pytest.fixture
def plot(here) -> Path:
    """The folder of the action `plot` of the finished run sound_0, which is not there yet."""
    (here / "my program.py").write_text(PROGRAM)
    start = f"{shlex.quote(sys.executable)} 'my program.py'"
    words = (
        "{run.path} {action.path} {run.name}_{run.seed} --error={run.results.test.depth.mae}"
        " {run.test.depth.mae}"
    )
    write(
        plot=f"{start} {words} {{{{x}}}} {{run.learning_rate}} {{run.dataset.size}}",
        noted=f"{start} '{{run.note}}'",
    )
    return here / "runs/sound_0/actions/plot"


def write(**commands: str) -> None:
    tables = [
        f"[actions.{name}]\ncommand = {json.dumps(command)}\n" for name, command in commands.items()
    ]
    Path("qexp.toml").write_text("\n".join(tables))


def record_in(folder: Path) -> dict[str, object]:
    return json.loads((folder / "record.json").read_text())


def test_an_action_gets_the_values_of_the_run_and_its_output_is_kept_with_a_record(
    plot, here, qexp
):
    code, stdout, stderr = qexp("action", "plot", "sound_0")
    assert (code, stdout) == (0, "runs/sound_0/actions/plot\n"), stderr
    run = package.open_run("sound_0")
    error = run.results["test"]["depth"]["mae"]
    record = record_in(plot)
    draft = record["argv"][3]
    assert record["argv"][2:] == [
        str(run.path),
        draft,
        "sound_0_0",
        f"--error={error}",
        str(error),
        "{x}",
        "0.001",
        "[16, 16]",
    ]
    assert Path(draft).parent == plot.parent
    assert not Path(draft).exists()
    assert (record["state"], record["exit_code"], record["directory"]) == ("done", 0, str(here))
    assert (plot / "made.txt").read_text() == str(here)
    assert (plot / "log.txt").read_text() == f"{record['argv'][2:]}\n"
    assert "actions      plot\n" in qexp("show", "sound_0").stdout
    assert json.loads(qexp("show", "sound_0", "--json").stdout)["actions"] == {"plot": "done"}


@pytest.mark.slow
def test_no_value_of_a_run_becomes_a_word_or_a_command(plot, here, qexp):
    note = "$(touch x); 'touch' \"x\" {run.path} `touch x` | touch x"
    qexp("note", "sound_0", note)
    assert qexp("action", "noted", "sound_0").code == 0
    assert record_in(plot.with_name("noted"))["argv"][2:] == [note]
    assert not (here / "x").exists()


@pytest.mark.slow
def test_words_behind_two_hyphens_reach_the_program_as_they_are_and_are_recorded(plot, here, qexp):
    words = ["--color", "red", "--json", "", "{run.name}", "$HOME", "--", "-x"]
    assert qexp("action", "noted", "sound_0", "--", *words).code == 0
    noted = record_in(plot.with_name("noted"))
    assert noted["argv"][3:] == words
    assert (plot.with_name("noted") / "log.txt").read_text() == f"{noted['argv'][2:]}\n"
    for line in ["noted", "--", "sound_0"], ["--", "noted", "sound_0"]:
        assert "name the runs ahead of --" in qexp("action", *line).refused(2)
    ((_, acted),) = package.act("noted", "sound_0", words=["-n", "3"])
    assert acted.record["argv"][3:] == ["-n", "3"]
    with pytest.raises(QexpError, match=r"give a list, such as words=\['-n', '3'\]"):
        next(package.act("noted", "sound_0", words="-n 3"))


@pytest.mark.heavy
def test_a_failure_is_kept_beside_the_last_success_until_the_next_one(plot, qexp, monkeypatch):
    monkeypatch.setenv("CODE_OF_ACTION", "5")
    stderr = qexp("action", "plot", "sound_0").refused(1)
    assert "plot failed on sound_0: exit code 5; see runs/sound_0/actions/plot/log.txt" in stderr
    monkeypatch.delenv("CODE_OF_ACTION")
    assert qexp("action", "plot", "sound_0").code == 0
    monkeypatch.setenv("CODE_OF_ACTION", "6")
    assert qexp("action", "plot", "sound_0").code == 1
    failed = plot.with_name("plot.failed")
    assert (record_in(plot)["exit_code"], record_in(failed)["exit_code"]) == (0, 6)
    assert "plot (failed)" in qexp("show", "sound_0").stdout
    monkeypatch.delenv("CODE_OF_ACTION")
    assert qexp("action", "plot", "sound_0").code == 0
    assert not failed.exists()


@pytest.mark.slow
def test_runs_on_which_an_action_cannot_be_run_do_not_stop_the_others(plot, here, qexp):
    from tests.runs.test_catalog import write_record

    write_record(here, "young", state="failed", results={})
    code, stdout, stderr = qexp("action", "plot", "*")
    assert (code, stdout) == (4, "runs/sound_0/actions/plot\n")
    assert "young" in stderr
    assert not (here / "runs/young/actions/plot").exists()
    assert [name for name, _ in package.act("plot", ["sound_0"])] == ["sound_0"]


@pytest.mark.parametrize(
    ("commands", "complaint", "expected"),
    [
        (
            {"plot": "a {rum.path}"},
            "[actions.plot]: command has no placeholder {rum.path}; did you mean 'run.path'?",
            2,
        ),
        (
            {"plot": "a 'b"},
            "[actions.plot]: command cannot be divided into words: no closing quotation",
            2,
        ),
        ({"plot": " "}, "[actions.plot]: give the command in one line", 2),
        ({"Plot": "a"}, "[actions.Plot]: a name has small letters, digits, - and _", 2),
        ({"plat": "a"}, "qexp.toml has no action 'plot'; did you mean 'plat'?", 3),
        (
            {"plot": "a {run.lerning_rate}"},
            "no field 'lerning_rate'; did you mean 'learning_rate'?",
            2,
        ),
        (
            {"plot": "no-such-program"},
            "plot failed on sound_0: cannot start no-such-program: No such file",
            1,
        ),
    ],
)
def test_an_action_that_cannot_be_run_is_refused_with_what_would_work(
    here, qexp, commands, complaint, expected
):
    write(**commands)
    assert complaint in qexp("action", "plot", "sound_0").refused(expected)


@pytest.mark.heavy
def test_one_action_is_at_work_on_a_run_once_and_ctrl_c_ends_it_with_its_record(
    plot, start, qexp, monkeypatch
):
    monkeypatch.setenv("SECONDS_OF_ACTION", "600")
    process = start("action", "plot", "sound_0")
    until(lambda: any(plot.parent.glob(".plot.*.draft/made.txt")), "the start of the program")
    code, _, stderr = qexp("action", "plot", "sound_0")
    assert (code, stderr) == (
        2,
        "error: the action 'plot' is already running on sound_0; wait for its end\n",
    )
    assert qexp("doctor").code == 0
    process.send(signal.SIGINT)
    assert process.end()[0] == 130
    assert record_in(plot)["state"] == "interrupted"
    assert not list(plot.parent.glob(".*.draft"))


@pytest.mark.heavy
def test_an_action_leaves_the_draft_of_one_whose_name_begins_alike(here, start, qexp):
    write(**{"fig": "true", "fig--big": "sh -c 'touch $QEXP_ACTION_DIR/begun; sleep 3'"})
    actions = here / "runs/sound_0/actions"
    process = start("action", "fig--big", "sound_0")
    until(lambda: any(actions.glob(".fig--big*/begun")), "the start of the program")
    assert qexp("action", "fig", "sound_0").code == 0
    assert qexp("doctor", "--fix").code == 0
    assert process.end()[0] == 0
    assert record_in(actions / "fig--big")["state"] == "done"


@pytest.mark.heavy
def test_what_a_killed_action_leaves_is_cleared_and_what_it_moved_away_is_put_back(plot, qexp):
    (plot.parent / ".plot.0123abcd.draft").mkdir(parents=True)
    assert "was killed while it wrote or replaced plot" in qexp("doctor").stdout
    assert os.listdir(plot.parent) == [".plot.0123abcd.draft"]  # noqa: PTH208 - nothing is changed, hidden names, too
    assert qexp("doctor", "--fix").code == 0
    assert os.listdir(plot.parent) == []  # noqa: PTH208
    assert qexp("action", "plot", "sound_0").code == 0
    plot.rename(plot.with_name(".plot.0123abcd.former"))
    (plot.parent / ".plot.4567abcd.draft").mkdir()
    code, stdout, _ = qexp("doctor")
    assert (code, "put it back" in stdout) == (5, True)
    assert qexp("doctor", "--fix").code == 0
    assert record_in(plot)["state"] == "done"
    assert sorted(os.listdir(plot.parent)) == ["plot", "plot.lock"]  # noqa: PTH208


@pytest.mark.slow
def test_the_output_of_actions_travels_with_the_run(plot, here, qexp):
    assert qexp("action", "plot", "sound_0").code == 0
    assert qexp("export", "sound_0", "--to", "a.zip").code == 0
    assert qexp("import", "a.zip", "--name", "other").code == 0
    other = package.open_run("other")
    assert (other.path / "actions/plot/made.txt").read_bytes() == (plot / "made.txt").read_bytes()
    assert other.record["actions"] == {"plot": "done"}
    assert qexp("doctor").code == 0


def test_actions_are_listed(plot, qexp):
    assert [line.split()[0] for line in qexp("action").stdout.splitlines()] == [
        "name",
        "plot",
        "noted",
    ]
    assert [action["name"] for action in json.loads(qexp("action", "--json").stdout)] == [
        "plot",
        "noted",
    ]
    write()
    assert "no actions; define one in qexp.toml" in qexp("action").stderr

"""A launcher is one file and one line of a table: nothing else knows its name, and all commands
work with it.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import qexp as package
from qexp.errors import SchedulerError
from qexp.jobs.launchers import LAUNCHERS, options_of, read_options
from qexp.testing import check_launcher
from tests.cli.test_completion import completed
from tests.runs.conftest import has_lines, until
from tests.runs.spool import Spool
from tests.source import PACKAGE

PROGRAMS = (
    "sbatch",
    "squeue",
    "sacct",
    "scancel",
    "scontrol",
    "qsub",
    "qstat",
    "qacct",
    "qdel",
    "qconf",
)


@pytest.fixture
def spool(specs, monkeypatch) -> Iterator[None]:
    """A third launcher, in a workspace of sound specs; what a test leaves with it is cancelled."""
    launcher = Spool()
    monkeypatch.setitem(LAUNCHERS.own, "spool", launcher)
    yield
    launcher.cancel([str(job) for job in specs.root.glob("runs/.launches/*/spool/*")])


def states() -> dict[str, str]:
    return {run["name"]: run["state"] for run in package.runs()}


@pytest.mark.heavy
def test_a_scheduler_is_named_in_its_own_files_and_in_the_table_and_nowhere_else():
    names = [name for name, scheduler in LAUNCHERS.items() if scheduler is not None]
    assert names
    # errors: the name of an extra
    words = re.compile("|".join([*names, *PROGRAMS]), re.IGNORECASE)
    own_files = {"errors.py", *(f"{name}.py" for name in names)}
    files = (
        path
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in (".py", ".json", ".md", ".toml")
    )
    mentions = [
        (str(path.relative_to(PACKAGE)), line.strip())
        for path in files
        if path.name not in own_files
        for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line)
    ]
    classes = {name: type(LAUNCHERS[name]).__name__ for name in names}
    table = [
        (f"from qexp.jobs.{name} import {word}", f'"{name}": {word}(),')
        for name, word in classes.items()
    ]
    assert sorted(mentions) == sorted(
        ("jobs/launchers.py", line) for lines in table for line in lines
    )


@pytest.mark.heavy
def test_a_new_launcher_passes_what_authors_of_others_have_to_pass(tmp_path):
    check_launcher(Spool(), tmp_path / "jobs", {"nice": 1})


@pytest.mark.heavy
def test_runs_of_a_new_launcher_are_submitted_seen_waited_for_and_stopped(specs, spool, qexp):
    (specs.root / "qexp.toml").write_text("[spool]\nnice = 19\n")
    grid = ("--grid", "epochs=1000000,1,1000001", "-j", "2", "--device", "cpu")
    stdout = qexp("run", "sound", *grid, "--launcher", "spool", "--option", "nice=1").done()
    jobs = dict(line.split() for line in stdout.splitlines())
    endless, brief, waiting = jobs
    assert states().keys() == jobs.keys()
    assert {*states().values()} <= {"queued", "running"}
    assert states()[waiting] == "queued"

    assert qexp("wait", brief).code == 0
    until(has_lines(package.open_run(endless).path / "metrics.jsonl", 1), "the first epoch")
    assert states() == {brief: "done", endless: "running", waiting: "queued"}
    for name in (brief, endless):
        job = package.open_run(name).record["job"]
        assert job == {"launcher": "spool", "id": jobs[name], "workspace": str(Path.cwd())}
    process = package.open_run(endless).record["attempts"][-1]["process"]
    own_priority = os.getpriority(os.PRIO_PROCESS, 0)
    # as --option says, not qexp.toml
    assert os.getpriority(os.PRIO_PROCESS, process["pid"]) == own_priority + 1

    stderr = qexp("stop", endless, "--now").failed()
    assert f"{endless} is job {jobs[endless]} of spool, which cannot be killed from here" in stderr
    for name in (waiting, endless):
        assert qexp("stop", name) == (0, "", f"{name}: interrupted\n")
    assert states() == {brief: "done", endless: "interrupted", waiting: "interrupted"}
    assert [len(package.open_run(name).record["attempts"]) for name in jobs] == [1, 1, 0]
    assert (package.open_run(endless).path / "checkpoints/last.safetensors").is_file()


class Closed(Spool):
    """Keeps what is submitted, and starts nothing."""

    def submit_commands(self, submission, commands) -> list[str]:
        jobs = super().submit_commands(submission, [])
        for number in range(len(commands)):
            jobs.append(str(submission.folder / "spool" / str(number)))
            (submission.folder / "spool" / str(number)).mkdir(parents=True)
        return jobs


class Full(Spool):
    """Accepts nothing."""

    def submit_commands(self, submission, commands) -> list[str]:
        raise SchedulerError("the spool is full")


def test_a_launch_that_waits_is_stopped_as_a_whole_and_nobodys_without_its_launcher(
    specs, monkeypatch, qexp
):
    order = package.Order("sound", seeds=range(2), launcher="closed", options={"nice": 3})
    with monkeypatch.context() as patch:
        patch.setitem(LAUNCHERS.own, "closed", Closed())
        runs = package.sweep(order, workspace=specs.root)
        assert {run.name: "queued" for run in runs} == states()
        job = {"launcher": "closed", "id": "1"}
        for run in runs:  # as if another attempt had been a job before
            file = run.path / "run.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), "job": job}))
        assert {*states().values()} == {"queued"}
        patch.delitem(LAUNCHERS.own, "closed")
        assert {*states().values()} == {"created"}
        patch.setitem(LAUNCHERS.own, "closed", Closed())
        qexp("stop", "--launch", "last").done()
        assert {*states().values()} == {"interrupted"}


def test_what_a_scheduler_refuses_waits_for_nobody_and_is_to_be_run_again(specs, monkeypatch, qexp):
    monkeypatch.setitem(LAUNCHERS.own, "full", Full())
    assert (
        qexp("run", "sound", "--seeds", "0:2", "--launcher", "full")
        .failed(6)
        .endswith("error: the spool is full\n")
    )
    assert {*states().values()} == {"created"}
    assert qexp("run", "sound", "--seeds", "0:2", "--dry-run").stdout.split() == [*states()]
    assert qexp("doctor") == (0, "", "no problems found\n"), "they may be about to start"
    monkeypatch.setattr("qexp.jobs.states.SECONDS_TO_START", 0.0)
    first, second = states()
    stdout = qexp("doctor").stdout
    for name in (first, second):
        assert f"start it: qexp rerun {name} --resume, or remove it: qexp rm {name}" in stdout
    assert qexp("rerun", first, "--resume", "--device", "cpu").code == 0
    assert states()[first] == "done"


def test_the_names_and_options_of_launchers_come_from_the_table(spool, qexp):
    assert completed("qexp run sound --launcher ") == sorted(LAUNCHERS)
    for words, complaint in {
        ("spol",): "--launcher spol: no such launcher; did you mean 'spool'?",
        (
            "spool",
            "--option",
            "nice=20",
        ): "--option: nice cannot be '20'; give a number from 0 to 19",
        ("spool", "--option", "time=1"): "--option: no option 'time'; known: nice, python, wrap",
        ("spool", "--option", "time"): "--option time: write KEY=VALUE",
    }.items():
        assert qexp("run", "sound", "--launcher", *words).failed() == f"error: {complaint}\n"


def test_options_of_python_are_those_of_the_command_line():
    options = {"requeue": True, "time": 30, "setup": ["module load a", "module load b"]}
    texts = ["requeue=true", "time=30", "setup=module load a", "setup=module load b"]
    assert options_of("slurm", {}, options) == options_of(
        "slurm", {}, read_options("--option", texts)
    )

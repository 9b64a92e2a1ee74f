"""Whether a process lives is judged rightly, whatever clocks say and whoever asks."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qexp.base import files
from qexp.jobs.launchers import Launch
from qexp.jobs.states import state_now
from qexp.store import process
from qexp.store.directory import RunDirectory
from qexp.store.process import (
    HEARTBEAT_SECONDS,
    SILENT_SECONDS,
    alive,
    beat,
    beating,
    fresh,
    this_process,
)
from qexp.store.record import State
from tests.runs.conftest import until
from tests.runs.elsewhere import as_nobody, on_another_host
from tests.runs.test_catalog import write_record
from tests.runs.test_waiting import attempt_of, sleeper, write_running

__all__ = ["sleeper"]  # a fixture


def set_back(file: Path, seconds: float) -> None:
    when = files.now_at(file) - seconds
    os.utime(file, (when, when))


@pytest.fixture
def heartbeat(tmp_path: Path) -> Path:
    beat(tmp_path / "heartbeat")
    return tmp_path / "heartbeat"


@pytest.mark.heavy
@pytest.mark.parametrize("clock", ["+10m", "-1d"])
def test_a_run_of_another_machine_is_running_whatever_the_clock_of_this_one_says(
    workspace, sleeper, clock
):
    directory = write_running(workspace, "busy", sleeper.pid)
    assert on_another_host("ls", "-q", "--status", "running", clock=clock) == (0, "busy\n", "")
    assert "busy is running" in on_another_host("rm", "busy", clock=clock).failed()
    set_back(directory.attempt(1) / "heartbeat", SILENT_SECONDS + HEARTBEAT_SECONDS)
    assert on_another_host("ls", "-q", "--status", "lost", clock=clock) == (0, "busy\n", "")


@pytest.mark.heavy
def test_a_process_beats_by_the_clock_of_the_file_system_and_not_by_its_own(heartbeat):
    on_another_host("ls")  # skips where that cannot be done
    set_back(heartbeat, SILENT_SECONDS + HEARTBEAT_SECONDS)
    script = (
        "import sys; from pathlib import Path; from qexp.store.process import beat;"
        " beat(Path(sys.argv[1]))"
    )
    subprocess.run(["faketime", "-f", "+10m", sys.executable, "-c", script, heartbeat], check=True)
    assert fresh(heartbeat)


def test_a_heartbeat_of_tomorrow_keeps_no_dead_run_running(workspace, qexp, sleeper):
    directory = write_running(workspace, "far", sleeper.pid, host="another-machine")
    assert qexp("ls", "-q", "--status", "running").stdout == "far\n"
    set_back(directory.attempt(1) / "heartbeat", -86400)
    assert qexp("ls", "-q", "--status", "lost").stdout == "far\n"


@pytest.mark.parametrize(
    "of_process", [{"host": "another"}, {"boot_id": "another"}, {"pid_namespace": "another"}]
)
def test_of_another_machine_or_container_the_heartbeat_tells_also_if_it_has_this_ones_name(
    heartbeat, of_process
):
    process = replace(this_process(), **of_process)
    assert alive(process, heartbeat)
    set_back(heartbeat, SILENT_SECONDS + HEARTBEAT_SECONDS)
    assert not alive(process, heartbeat)
    heartbeat.unlink()
    assert not alive(process, heartbeat)


def test_a_scheduler_that_forgot_a_job_is_not_believed_while_the_heart_beats(heartbeat):
    directory = RunDirectory(heartbeat.parent)
    directory.attempt(1).mkdir(parents=True)
    beat(directory.attempt(1) / "heartbeat")
    assert state_now(directory, State.RUNNING, None, State.DONE) == "running"
    set_back(directory.attempt(1) / "heartbeat", -3600)
    assert state_now(directory, State.RUNNING, None, State.DONE) == "lost"


def test_a_heart_beats_as_long_as_it_is_held_and_may_go_on(heartbeat):
    set_back(heartbeat, 3600)
    with beating(heartbeat):
        until(lambda: fresh(heartbeat), "a beat")
    set_back(heartbeat, 3600)
    with beating(heartbeat, lambda: False):
        pass
    assert not fresh(heartbeat)


def test_where_nothing_can_be_written_this_machines_clock_must_do(heartbeat, sleeper):
    assert files.age(Path(f"/proc/{sleeper.pid}/stat")) < SILENT_SECONDS
    assert abs(files.age(heartbeat)) < SILENT_SECONDS


@pytest.mark.heavy
@pytest.mark.parametrize("hidepid", [False, True])
def test_another_user_sees_that_a_run_lives_also_where_processes_are_hidden(
    open_workspace, sleeper, hidepid
):
    busy = write_running(open_workspace, "busy", sleeper.pid)
    quiet = write_running(open_workspace, "quiet", sleeper.pid)
    gone = write_running(open_workspace, "gone", 4_000_000, start="1")
    set_back(quiet.attempt(1) / "heartbeat", SILENT_SECONDS + HEARTBEAT_SECONDS)
    where = ("--workspace", open_workspace)
    code, stdout, _ = as_nobody("ls", "-q", "--status", "running", *where, hidepid=hidepid)
    # Of a process that is hidden there is no other sign than its heartbeat.
    assert (code, stdout.split()) == (0, ["busy"] if hidepid else ["busy", "quiet"])
    assert "busy is running" in as_nobody("rm", "busy", *where, hidepid=hidepid).failed()
    assert "another user" in as_nobody("stop", "busy", *where, hidepid=hidepid).failed()
    assert busy.record_file.exists()
    assert gone.record_file.exists()


def test_runs_that_wait_in_a_pool_of_another_machine_wait_for_as_long_as_its_heart_beats(
    workspace, qexp, sleeper
):
    launch = Launch(workspace / "runs/.launches/20260101-000000")
    launch.folder.mkdir(parents=True)
    launch.pool_file.write_text(
        json.dumps(attempt_of(sleeper.pid, host="another-machine")["process"])
    )
    write_record(workspace, "next", state="queued", launch=launch.id)
    assert qexp("ls", "-q", "--status", "created").stdout == "next\n"
    beat(launch.heartbeat)
    assert qexp("ls", "-q", "--status", "queued").stdout == "next\n"


PS = """#!/bin/sh
echo "$(date -d @1764000000 +%c) $LC_ALL"
"""

SYSCTL = """#!/bin/sh
echo "{ sec = 1764000000, usec = 123456 } $(date -d @1764000000 +%c)"
"""


def test_without_proc_the_start_of_a_process_is_the_same_in_every_time_zone_and_language(
    tmp_path, monkeypatch
):
    """As on macOS: `ps` and `sysctl` write times in the zone and the language of the
    environment.
    """
    for name, program in (("ps", PS), ("sysctl", SYSCTL)):
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(process, "Path", lambda path: tmp_path / "no proc" / path.lstrip("/"))
    seen = set()
    for zone, language in (
        ("Asia/Tokyo", "C"),
        ("UTC", "C"),
        ("America/Lima", "de_DE.UTF-8"),
        (None, "C.UTF-8"),
    ):
        monkeypatch.setenv("LC_ALL", language)
        monkeypatch.setenv("TZ", zone) if zone else monkeypatch.delenv("TZ")
        process.boot_id.cache_clear()
        seen.add((process.process_start(1), process.boot_id()))
    process.boot_id.cache_clear()
    assert len(seen) == 1
    assert seen.pop()[1] == "1764000000"

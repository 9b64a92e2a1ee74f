"""What is written for HTCondor and read from it, by its own parsers: no pool is started here."""

import subprocess
from pathlib import Path

import pytest

from qexp.errors import QexpError, SchedulerError
from qexp.jobs.arrays import Array
from qexp.jobs.htcondor import HTCondor
from qexp.jobs.launchers import options_of, this_job
from qexp.jobs.scheduler import Submission
from qexp.store.record import JobRecord
from tests.documents.reader import BLOCK, PAGES
from tests.slurm.test_arrays import folders

htcondor2 = pytest.importorskip("htcondor2")

PAGE = PAGES["docs/how-to/htcondor.md"]

USAGE = "".join(f"\tUsr 0 00:00:00, Sys 0 00:00:00  -  {what}\n" for what in (
    "Run Remote Usage", "Run Local Usage", "Total Remote Usage", "Total Local Usage"
)) + "".join(f"\t0  -  {what}\n" for what in (
    "Run Bytes Sent By Job", "Run Bytes Received By Job", "Total Bytes Sent By Job", "Total Bytes Received By Job"
))  # fmt: skip

SUBMITTED = "000 ({job}) 2026-11-26 02:00:00 Job submitted from host: <10.0.0.1:9618>\n...\n"
EXECUTING = "001 ({job}) 2026-11-26 02:00:05 Job executing on host: <10.0.0.2:9618>\n...\n"
HELD = "012 ({{job}}) 2026-11-26 02:10:06 Job was held.\n\tError from slot1@node: so it is\n\tCode {} Subcode 0\n...\n"
RETURNED = (
    f"005 ({{{{job}}}}) 2026-11-26 02:10:05 Job terminated.\n\t(1) Normal termination (return value {{}})\n{USAGE}...\n"
)
SIGNALLED = (
    "005 ({{job}}) 2026-11-26 02:10:05 Job terminated.\n\t(0) Abnormal termination (signal {})\n\t(0) No core file\n"
    f"{USAGE}...\n"
)
EVICTED = (
    "004 ({job}) 2026-11-26 02:10:08 Job was evicted.\n\t(0) CPU times\n"
    + USAGE.partition("\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total")[0]
    + "\t0  -  Run Bytes Sent By Job\n\t0  -  Run Bytes Received By Job\n...\n"
)
ABORTED = "009 ({job}) 2026-11-26 02:10:07 Job was aborted.\n\tvia condor_rm (by user me)\n...\n"
GONE = (
    "022 ({job}) 2026-11-26 02:10:05 Job disconnected, attempting to reconnect\n    Socket closed\n"
    "    Trying to reconnect to slot1@node <10.0.0.2:9618>\n...\n"
)
LOST = (
    "024 ({job}) 2026-11-26 02:40:05 Job reconnection failed\n    JobLeaseDuration (2400 seconds) expired\n"
    "    Can not reconnect to slot1@node, rescheduling job\n...\n"
)

FATES = [
    ("queued", []), ("running", [EXECUTING]), ("done", [EXECUTING, RETURNED.format(0)]),
    ("failed", [EXECUTING, RETURNED.format(1)]), ("timeout", [EXECUTING, RETURNED.format(124)]),
    ("interrupted", [EXECUTING, RETURNED.format(130)]), ("out_of_memory", [EXECUTING, RETURNED.format(137)]),
    ("failed", [EXECUTING, SIGNALLED.format(11)]), ("queued", [EXECUTING, EVICTED]),
    ("out_of_memory", [EXECUTING, HELD.format(34)]), ("timeout", [EXECUTING, HELD.format(47)]),
    ("queued", [HELD.format(1)]), ("failed", [HELD.format(13)]), ("interrupted", [EXECUTING, ABORTED]),
    ("running", [EXECUTING, GONE]), ("queued", [EXECUTING, GONE, LOST]), ("running", [EXECUTING, EVICTED, EXECUTING]),
]  # fmt: skip
"""State → the events of a job after its submission, in the words of HTCondor's manual."""


def submission(folder: Path, at_most: int | None = None, **options: object) -> Submission:
    return Submission(folder, "one", options_of("htcondor", {"htcondor": options}, {}), at_most)


def test_every_end_in_a_log_of_events_has_its_state(tmp_path):
    log = [
        SUBMITTED.format(job=f"7.{at}.0") + "".join(events).format(job=f"7.{at}.0")
        for at, (_, events) in enumerate(FATES)
    ]
    (tmp_path / "events.log").write_text("".join(log) + "005 (7.000.000) 2026-11-2")  # more is just being written
    jobs = {f"7.{at}": tmp_path for at in range(len(FATES))}
    assert HTCondor().states(jobs) == {f"7.{at}": state for at, (state, _) in enumerate(FATES)}
    assert HTCondor().states({"7.0": None, "8.0": tmp_path / "gone"}) == {}


@pytest.mark.parametrize("removed", [False, True])
def test_jobs_of_a_limited_launch_wait_until_they_come_into_being(tmp_path, removed):
    log = "035 (7.-01.-01) 2026-11-26 02:00:00 Cluster submitted from host: <10.0.0.1:9618>\n...\n" + SUBMITTED.format(
        job="7.0.0"
    )
    end = (
        "036 (7.-01.-01) 2026-11-26 02:00:09 Cluster removed\n\tMaterialized 1 jobs from 2 items.\n\tIncomplete\n...\n"
    )
    (tmp_path / "events.log").write_text(log + end * removed)
    waits = "interrupted" if removed else "queued"
    assert HTCondor().states({"7.0": tmp_path, "7.1": tmp_path}) == {"7.0": "queued", "7.1": waits}


def test_the_description_says_what_the_settings_of_the_page_ask_for(tmp_path):
    import tomllib

    written = "\n".join(block for kind, block in BLOCK.findall(PAGE) if kind == "toml")
    options = options_of("htcondor", tomllib.loads(written), {"time": "1:00:00"}, "big")
    array = Array(Submission(tmp_path / "it's here", "one", options, 8), 1, None, 3)
    parsed = htcondor2.Submit(HTCondor().description(array))
    assert parsed.getQArgs() == "3"
    asked = {
        "request_cpus": "4", "request_memory": "8GB", "request_gpus": "1", "allowed_execute_duration": "3600",
        "max_materialize": "8", "initialdir": str(tmp_path / "it's here"), "MY.Project": '"volcano"',
        "arguments": '"array_1.sh $(Process)"',
    }  # fmt: skip
    assert {key: parsed[key] for key in asked} == asked


def test_without_a_scheduler_here_nothing_is_submitted_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    with pytest.raises(SchedulerError, match="Unable to locate local daemon") as caught:
        HTCondor().submit(submission(tmp_path / "launch"), folders(tmp_path, 1))
    assert caught.value.exit_code == 6
    with pytest.raises(SchedulerError, match="Unable to locate"):
        HTCondor().cancel({"7.0": None})
    assert HTCondor().cluster() is None
    with pytest.raises(QexpError, match="quotation marks"):
        HTCondor().submit(submission(tmp_path / 'a "launch"'), folders(tmp_path / "b", 1))


def test_the_script_runs_its_run_with_the_output_beside_it_and_begins_again_after_another_start(tmp_path, monkeypatch):
    launch = submission(tmp_path / "launch", setup=['echo "$run" $restarts', "exit 7"], time="1:00:00")
    (run,) = folders(tmp_path, 1)
    with pytest.raises(SchedulerError):
        HTCondor().submit(launch, [run])
    for _ in range(2):
        assert subprocess.run(["bash", "array_1.sh", "0"], cwd=launch.folder, check=False).returncode == 7
    assert (run.path / "htcondor.txt").read_text() == f"{run.path} 0\n{run.path} 1\n"
    monkeypatch.setenv("QEXP_HTCONDOR_JOB", "7.0")
    monkeypatch.delenv("QEXP_HTCONDOR_CLUSTER", raising=False)
    assert this_job(tmp_path) == JobRecord(launcher="htcondor", id="7.0", workspace=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time": "60"}, "time cannot be '60'; give hours, minutes and seconds"),
        ({"options.log": "x"}, "options.log cannot be passed on to submit descriptions: qexp sets it itself"),
        ({"options.request_cpus": "2"}, "write it as cpus = ..."),
    ],
)
def test_options_that_would_undo_what_is_set_are_refused(options, words):
    with pytest.raises(QexpError, match=words):
        options_of("htcondor", {}, options)

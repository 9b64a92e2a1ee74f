"""What is written for HTCondor and read from it, by its own parsers: no pool is started here."""

import os
import subprocess
import tomllib

import pytest

from qexp.errors import QexpError, SchedulerError
from qexp.jobs.htcondor import HTCondor
from qexp.jobs.launchers import options_of
from qexp.jobs.scheduler import Array, Submission
from tests.documents.reader import BLOCK, PAGES
from tests.slurm.test_arrays import folders

htcondor2 = pytest.importorskip("htcondor2")

PAGE = PAGES["docs/how-to/htcondor.md"]


def event(number: int, *lines: str, job: str = "{job}") -> str:
    """An event in a log, in the words of HTCondor's manual."""
    return f"{number:03} ({job}) 2026-11-26 02:00:00 " + "\n\t".join(lines) + "\n...\n"


USAGE = [f"Usr 0 00:00:00, Sys 0 00:00:00  -  {of} Usage" for of in ("Run Remote", "Run Local")]
TOTAL = [line.replace("Run", "Total") for line in USAGE]
BYTES = ["0  -  Run Bytes Sent By Job", "0  -  Run Bytes Received By Job"]
TOTAL_BYTES = [line.replace("Run", "Total") for line in BYTES]


def ended(*how: str) -> str:
    return event(5, "Job terminated.", *how, *USAGE, *TOTAL, *BYTES, *TOTAL_BYTES)


def returned(code: int) -> str:
    return ended(f"(1) Normal termination (return value {code})")


def held(code: int) -> str:
    return event(12, "Job was held.", "Error from slot1@node: so it is", f"Code {code} Subcode 0")


SUBMITTED = event(0, "Job submitted from host: <10.0.0.1:9618>")
EXECUTING = event(1, "Job executing on host: <10.0.0.2:9618>")
EVICTED = event(4, "Job was evicted.", "(0) CPU times", *USAGE, *BYTES)
ABORTED = event(9, "Job was aborted.", "via condor_rm (by user me)")
GONE = event(
    22,
    "Job disconnected, attempting to reconnect\n    Socket closed\n    Trying to reconnect to"
    " slot1@node <:1>",
)
LOST = event(
    24,
    "Job reconnection failed\n    Job lease expired\n    Can not reconnect to slot1@node,"
    " rescheduling job",
)

FATES = [
    ("queued", []),
    ("running", [EXECUTING]),
    ("done", [EXECUTING, returned(0)]),
    ("failed", [EXECUTING, returned(1)]),
    ("timeout", [EXECUTING, returned(124)]),
    ("interrupted", [EXECUTING, returned(130)]),
    ("out_of_memory", [EXECUTING, returned(137)]),
    ("failed", [EXECUTING, ended("(0) Abnormal termination (signal 11)", "(0) No core file")]),
    ("queued", [EXECUTING, EVICTED]),
    ("running", [EXECUTING, EVICTED, EXECUTING]),
    ("out_of_memory", [EXECUTING, held(34)]),
    ("timeout", [EXECUTING, held(47)]),
    ("queued", [held(1)]),
    ("failed", [held(13)]),
    ("interrupted", [EXECUTING, ABORTED]),
    ("running", [EXECUTING, GONE]),
    ("queued", [EXECUTING, GONE, LOST]),
]
"""State → the events of a job after its submission."""


def test_every_end_in_a_log_of_events_has_its_state(tmp_path):
    events = [
        "".join([SUBMITTED, *events]).format(job=f"7.{at}.0")
        for at, (_, events) in enumerate(FATES)
    ]
    # more is just being written
    (tmp_path / "events.log").write_text("".join(events) + "005 (7.000.000) 2026-11-2")
    states = {f"7.{at}": state for at, (state, _) in enumerate(FATES)}
    assert HTCondor().states(dict.fromkeys(states, tmp_path)) == states
    assert HTCondor().states({"7.0": None, "8.0": tmp_path / "gone"}) == {}


@pytest.mark.parametrize("removed", [False, True])
def test_jobs_of_a_limited_launch_wait_until_they_come_into_being(tmp_path, removed):
    begun = event(
        35, "Cluster submitted from host: <10.0.0.1:9618>", job="7.-01.-01"
    ) + SUBMITTED.format(job="7.0.0")
    end = event(
        36, "Cluster removed", "Materialized 1 jobs from 2 items.", "Incomplete", job="7.-01.-01"
    )
    (tmp_path / "events.log").write_text(begun + end * removed)
    waits = "interrupted" if removed else "queued"
    assert HTCondor().states({"7.0": tmp_path, "7.1": tmp_path}) == {"7.0": "queued", "7.1": waits}


def test_a_job_that_is_removed_before_it_comes_into_being_ends_as_soon_as_it_begins(tmp_path):
    """Of a limited launch, HTCondor makes the next job when others are removed."""
    launch, (run,) = (
        Submission(tmp_path / "launch", "one", options_of("htcondor", {}, {})),
        folders(tmp_path, 1),
    )
    with pytest.raises(SchedulerError):
        HTCondor().submit(launch, [run])
    begun = event(35, "Cluster submitted from host: <10.0.0.1:9618>", job="7.-01.-01")
    (launch.folder / "events.log").write_text(begun)
    jobs = {"7.0": launch.folder}
    assert HTCondor().states(jobs) == {"7.0": "queued"}
    assert HTCondor().cancel(jobs) == {}
    assert HTCondor().states(jobs) == {"7.0": "interrupted"}
    names = dict(zip(HTCondor.variables, ("7", "0", ""), strict=True))
    started = subprocess.run(
        ["bash", "array_1.sh", "0"], cwd=launch.folder, env={**os.environ, **names}, check=False
    )
    assert started.returncode == 130
    assert not (run.path / "htcondor.txt").exists()


def test_the_description_says_what_the_settings_of_the_page_ask_for(tmp_path):
    written = "\n".join(block for kind, block in BLOCK.findall(PAGE) if kind == "toml")
    options = options_of("htcondor", tomllib.loads(written), {"time": "1:00:00"}, "big")
    array = Array(
        Submission(tmp_path / "it's here", "one", options, 8), 1, None, True, ["a", "b", "c"]
    )
    parsed = htcondor2.Submit(HTCondor().description(array))
    assert parsed.getQArgs() == "3"
    asked = {
        "request_cpus": "4",
        "request_memory": "8GB",
        "request_gpus": "1",
        "allowed_execute_duration": "3600",
        "max_materialize": "8",
        "initialdir": str(tmp_path / "it's here"),
        "MY.Project": '"volcano"',
        "arguments": '"array_1.sh $(Process)"',
        "getenv": "*, !*_TOKEN*, !*_KEY*, !*SECRET*, !*PASSW*",
    }
    assert {key: parsed[key] for key in asked} == asked
    assert parsed.expand("arguments") == '"array_1.sh 0"'
    assert parsed.expand("environment").startswith(
        '"QEXP_HTCONDOR_ARRAY=1 QEXP_HTCONDOR_TASK=0 QEXP_HTCONDOR_CLUSTER='
    )


def test_without_a_scheduler_here_that_is_said_and_the_script_runs_its_run_with_the_output_beside_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    options = options_of(
        "htcondor", {}, {"setup": ['echo "$run" $restarts', "exit 7"], "time": "1:00:00"}
    )
    launch, (run,) = Submission(tmp_path / "launch", "one", options), folders(tmp_path, 1)
    with pytest.raises(SchedulerError, match="Unable to locate local daemon") as caught:
        HTCondor().submit(launch, [run])
    assert caught.value.exit_code == 6
    with pytest.raises(SchedulerError, match="Unable to locate"):
        HTCondor().cancel({"7.0": None})
    assert HTCondor().cluster() is None
    # of which the rest would be a command of the description
    for name in ('a "launch"', "a\nlaunch"):
        with pytest.raises(QexpError, match="quotation marks or line breaks"):
            HTCondor().submit(Submission(tmp_path / name, "one", options), [run])
    for _ in range(2):  # it begins again after another start
        assert (
            subprocess.run(["bash", "array_1.sh", "0"], cwd=launch.folder, check=False).returncode
            == 7
        )
    assert (run.path / "htcondor.txt").read_text() == f"{run.path} 0\n{run.path} 1\n"

"""What Grid Engine says, as a real one has said it: every end has its state."""

import pytest

from qexp.errors import SchedulerError
from qexp.jobs.gridengine import GridEngine, read_list
from qexp.jobs.launchers import options_of
from qexp.jobs.scheduler import Submission
from tests.slurm.test_arrays import folders

LIST = """<?xml version='1.0'?>
<job_info xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <Queue-List><name>main.q@a</name>
      <job_list state="running"><JB_job_number>6</JB_job_number><JB_name>\x01 &lt;b&gt;</JB_name>
        <state>r</state><tasks>1</tasks></job_list>
      <job_list state="running"><JB_job_number>6</JB_job_number><state>dr</state><tasks>2</tasks></job_list>
      <job_list state="running"><JB_job_number>6</JB_job_number><state>Rs</state><tasks>3</tasks></job_list>
    </Queue-List>
    <Queue-List><name>main.q@silent</name><state>au</state>
      <job_list state="running"><JB_job_number>6</JB_job_number><state>r</state><tasks>4</tasks></job_list>
    </Queue-List>
  </queue_info>
  <job_info>
    <job_list state="pending"><JB_job_number>6</JB_job_number><state>Rq</state><tasks>5</tasks></job_list>
    <job_list state="pending"><JB_job_number>6</JB_job_number><state>Eqw</state><tasks>6</tasks></job_list>
    <job_list state="pending"><JB_job_number>7</JB_job_number><state>hqw</state><tasks>1-3:1,9</tasks></job_list>
    <job_list state="pending"><JB_job_number>8</JB_job_number><state>qw</state></job_list>
    <job_list state="zombie"><JB_job_number>6</JB_job_number><state>z</state><tasks>7,8</tasks></job_list>
  </job_info>
</job_info>
"""

LIMITS = "-l h_rt=30,h_vmem=600M,s_rt=15"

AFTER = "100 : assumedly after job"
OVER = "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit"

ENDS = [
    ("done", "0", "0", "4s"),
    ("failed", "0", "3", "4s"),
    ("timeout", OVER, "137   (Killed)", "31s", "9.500MB"),
    ("interrupted", AFTER, "137   (Killed)", "13s", "9.500MB"),
    ("lost", "19  : before writing exit_status", "0", "0s"),
    ("out_of_memory", AFTER, "137   (Killed)", "13s", "1.172GB"),
    ("out_of_memory", "0", "137", "4s"),
    ("timeout", "0", "124", "20s"),
    ("timeout", AFTER, "137", "30s"),
    ("interrupted", "0", "130", "4s"),
    ("interrupted", AFTER, "140", "1s"),
    ("failed", AFTER, "139", "1s"),
    ("lost", "8   : in prolog", "0", "0s"),
    ("failed", "30  : application error returned", "100", "1s"),
    ("done", "15  : in epilog", "0", "4s"),
    ("done", OVER, "0", "35s"),
]
"""State, and what the accounting says: failed, exit_status, ru_wallclock, maxvmem; h_vmem is per
slot, of two.
"""


def entry(task: int, failed: str, code: str, seconds: str, memory: str = "0.000B") -> str:
    return (
        f"{'=' * 62}\nqname main.q\njobnumber 6\ntaskid {task}\nslots 2\nfailed"
        f" {failed}\nexit_status {code}\nru_wallclock {seconds}\nmaxvmem {memory}\ncategory"
        f" {LIMITS}\n"
    )


def test_jobs_that_wait_run_or_are_held_by_an_error_and_those_of_a_silent_node():
    said = {
        **dict.fromkeys(("6.1", "6.2", "6.3"), "running"),
        **dict.fromkeys(("6.7", "6.8"), "ended"),
        **dict.fromkeys(("6.5", "7.1", "7.2", "7.3", "7.9"), "queued"),
        "6.4": "silent",
        "6.6": "failed",
    }
    assert read_list(LIST) == said


def test_every_end_has_its_state_and_of_several_starts_the_last_one_counts(says):
    says("qstat", "", "unable to send message to qmaster", 1)
    again = entry(1, "25  : rescheduling", "99", "4s")
    entries = [entry(task, *words) for task, (_, *words) in enumerate(ENDS, 1)]
    says("qacct", "".join([again, *entries, entry(99, "25  : rescheduling", "99", "4s")]))
    meant = {f"6.{task}": state for task, (state, *_) in enumerate(ENDS, 1)}
    assert GridEngine().states(meant) == meant
    # 6.99 waits for another start
    with pytest.raises(SchedulerError, match="unable to send message"):
        GridEngine().states([*meant, "6.99"])


def test_without_accounting_only_what_the_master_knows_is_said(says):
    says("qstat", LIST)
    says("qacct", "", "accounting: No such file or directory", 1)
    assert GridEngine().states(["6.1", "6.4", "6.7"]) == {"6.1": "running"}


def test_what_others_could_list_of_a_job_holds_no_token_key_or_password(tmp_path, monkeypatch):
    for program, answer in (
        ("qsub", "env > ../environment; echo 7.1-1:1"),
        ("qconf", "echo max_aj_tasks 10"),
    ):
        (tmp_path / program).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in (
        "QEXP_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "db_password",
        "TOKENIZERS_PARALLELISM",
    ):
        monkeypatch.setenv(name, "of mine")
    launch = Submission(tmp_path / "launch", "one", options_of("gridengine", {}, {}))
    GridEngine().submit(launch, folders(tmp_path, 1))
    lines = (tmp_path / "environment").read_text().splitlines()
    assert [line for line in lines if "of mine" in line] == ["TOKENIZERS_PARALLELISM=of mine"]

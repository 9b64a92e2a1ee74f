"""Programs that are not qexp's, as runs: how they end, whatever ends them, and what is left of
them: nothing.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, RunFailedError, SpecError
from qexp.kinds.experiments import experience
from qexp.runs import plan
from qexp.runs.execute import execute
from qexp.runs.prepare import prepare
from qexp.store.directory import RunDirectory
from qexp.store.process import process_start
from tests.conftest import call, put, started
from tests.runs.conftest import PATIENCE, has_lines, until
from tests.test_imports import CALL_AND_LOOK, HEAVY, said_by_a_new_process

WRITES = "echo '{{\"mae\": 0.5}}' > $QEXP_RESULTS"

OWN: dict[str, Any] = {
    "type": "command",
    "command": ["sh", "own.sh", "{seed}", "{parameters.rate}", "{results}"],
    "parameters": {"rate": 0.5, "nested": {"deep": [1, 2]}},
    "files": ["own.sh"],
    "dataset": "mogi",
    "model": "their code",
    "metrics": {"score": {"best": "highest"}},
}

OWN_PROGRAM = """
echo "seed $1"
echo "{\\"test\\": {\\"depth\\": {\\"mae\\": $2$1, \\"score\\": null}, \\"other\\": {\\"mae\\": 2}}}" > $3
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`program("echo hello", grace=1)`: an experience that runs a shell script, in the current
    folder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QEXP_DATA", raising=False)
    folder = tmp_path / "specs" / "experiences"
    folder.mkdir(parents=True)
    (tmp_path / "own.sh").write_text(OWN_PROGRAM)

    def written(script: str = "", **keys: Any) -> str:
        document = (
            {"type": "command", "command": ["sh", "-c", script], **keys}
            if script
            else {**OWN, **keys}
        )
        (folder / "own.json").write_text(json.dumps(document))
        return "own"

    return written


def prepared(seed: int = 0) -> RunDirectory:
    here = Workspace(Path.cwd())
    return prepare(plan.plan_run(experience("own", {}, here), seed, f"own_{seed}", here), here)


def log_of(name: str = "own_0", attempt: int = 1) -> str:
    return Path("runs", name, "attempts", f"{attempt:02d}", "log.txt").read_text(encoding="utf-8")


def numbers_in(file: Path, count: int) -> list[int]:
    """Process numbers that a program writes to a file, once there are so many."""
    until(has_lines(file, count), f"{count} lines in {file}")
    return [int(word) for word in file.read_text().split()]


def working(count: int = 1) -> tuple[subprocess.Popen[str], list[int]]:
    """A process that executes the experience, and the numbers of that many processes of its
    program.
    """
    return started(Path.cwd(), "execute", str(prepared().path)), numbers_in(Path("ready"), count)


def test_a_program_is_a_run_with_seed_parameters_results_units_and_directions(program):
    run = package.run(program(), seed=3)
    assert run.results == {"test": {"depth": {"mae": 0.53, "score": None}, "other": {"mae": 2}}}
    record = run.record
    assert (record["state"], record["dataset"], record["model"]) == ("done", "mogi", "their code")
    assert record["units"] == {"depth": "km", "other": ""}
    assert record["metrics"] == {"score": {"best": "highest", "unit": ""}}
    assert "seed 3\n" in run.logs()
    assert (run.path / "code/files/own.sh").read_text() == OWN_PROGRAM
    assert json.loads((run.path / "environment.json").read_text())["packages"]
    stdout = call("show", "own_3").done()
    assert "sh own.sh '{seed}'" in stdout
    assert re.search(r"test +depth +km +- +0\.53", stdout)


def test_what_a_program_is_told_is_in_words_variables_and_a_file_and_its_environment_and_metrics_are_kept(
    program,
):
    said = 'echo "$0 $SEED $QEXP_SEED $QEXP_RUN $PWD"; cat {parameters}; echo {{}};'
    command = ["sh", "-c", said + WRITES, "{attempt}"]
    program(
        "-",
        command=command,
        env={"SEED": "s{seed}"},
        parameters={"a": [1, None]},
        folder="specs",
        data=["own.sh"],
        environment=[sys.executable, "-c", "print('numpy==1')"],
    )
    run = package.run("own", seed=7)
    assert f"1 s7 7 {run.path.absolute()} {Path.cwd() / 'specs'}\n" in run.logs()
    assert json.loads((run.path / "parameters.json").read_text()) == {"a": [1, None]}
    assert "{}\n" in run.logs()
    assert (run.path / "program_environment.txt").read_text() == "numpy==1\n"
    assert run.results == {"test": {"result": {"mae": 0.5}}}, "metrics without part and output"


@pytest.mark.parametrize(
    ("script", "state", "why"),
    [
        ("echo first; echo wrong rate >&2; exit 3", "failed", "exit code 3: wrong rate"),
        ("kill -9 $$", "failed", "killed by SIGKILL"),
        ("echo 'MemoryError: too large'; exit 1", "out_of_memory", "MemoryError"),
        (
            ": {results}",
            "failed",
            "there is no such file; a program is given this path as {results} and as",
        ),
        ("echo '{{\"mae\": NaN}}' > {results}", "failed", "$.mae: nan is not a number in JSON"),
        (
            'echo \'{{"mae": "low"}}\' > {results}',
            "failed",
            '$.mae: must be a number or null, but is the text "low"',
        ),
        ("echo '{{\"mae\": true}}' > {results}", "failed", "$.mae: must be a number or null"),
        (
            'echo \'{{"tets": {{"a": {{"mae": 1}}}}}}\' > {results}',
            "failed",
            "no part 'tets'; did you mean 'test'?",
        ),
        ('echo \'{{"a": {{"mae": 1}}}}\' > {results}', "failed", "no part 'a'"),
        (
            'echo \'{{"test": {{"a": 1}}}}\' > {results}',
            "failed",
            "$.test.a: must be an object of metrics",
        ),
        ("echo '[1]' > {results}", "failed", "must be an object"),
        ("mkdir $QEXP_RESULTS", "failed", "cannot be read: Is a directory"),
        ("echo '{{\"mae\": 1' > $QEXP_RESULTS", "failed", "not valid JSON"),
        ("echo '{{\"mae\": 1' > {results}", "failed", "not valid JSON"),
        (
            "head -c 2000000 /dev/zero > {results}",
            "failed",
            "is too large: 2,000,000 bytes, at most 1,000,000",
        ),
        (
            "echo 1 > $QEXP_RUN/spec.json",
            "failed",
            "changed spec.json in its run's folder, which are files of qexp",
        ),
        (
            "mkdir {run}/results; cd {run}/results; echo 1 > results.json",
            "failed",
            "changed results/results.json",
        ),
        ("mkdir {results}", "failed", "files of other names into a folder is given {run}"),
    ],
)
def test_a_run_is_done_only_with_exit_code_0_and_numbers_that_can_be_read(
    program, script, state, why
):
    with pytest.raises(RunFailedError) as failure:
        package.run(program(script))
    record = package.open_run("own_0").record
    assert (record["state"], record["results"]) == (state, {})
    assert why in record["error"]
    assert why in str(failure.value)
    assert "Traceback" not in log_of()


HISTOGRAM = """
import argparse, os, pickle
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--bins", type=int, default=10)
parser.add_argument("--storage_path", type=str, required=True)
given = parser.parse_args()
counts, edges = np.histogram(np.random.RandomState(given.seed).randn(1000), bins=given.bins)
np.savez(os.path.join(given.storage_path, "results.npz"), counts=counts, edges=edges)
os.makedirs(os.path.join(given.storage_path, "results"), exist_ok=True)
with open(os.path.join(given.storage_path, "results", "edges.pkl"), "wb") as file:
    pickle.dump(edges.tolist(), file)
"""


@pytest.fixture
def histogram(program) -> Path:
    """An experience with a program that knows nothing of qexp, and stores arrays in a folder that
    it is given.
    """
    Path("histogram.py").write_text(HISTOGRAM)
    command = [
        sys.executable,
        "histogram.py",
        "--seed",
        "{seed}",
        "--bins",
        "{parameters.bins}",
        "--storage_path",
    ]
    program("-", command=[*command, "{run}"], parameters={"bins": 10}, files=["histogram.py"])
    return Path("runs/own_3")


@pytest.mark.heavy
def test_a_program_that_writes_files_of_its_own_is_done_with_these_as_its_results(histogram):
    stdout = call("run", "own", "--seed", "3").done()
    run = package.open_run("own_3")
    assert (run.state, run.results) == ("done", {})
    assert list(run.directory.written_by_program()) == ["results/edges.pkl", "results.npz"]
    for shown in (stdout, call("show", "own_3").stdout):
        assert "results.npz" in shown
        assert "results/edges.pkl" in shown
    assert call("doctor").code == 0
    assert call("ls").code == call("report", "own_3", "--to", "own.html").code == 0
    assert "results.npz" in Path("own.html").read_text()
    assert "nothing to do" in call("run", "own", "--seed", "3").stderr


@pytest.mark.heavy
def test_such_a_run_is_verified_by_its_files(histogram):
    package.run("own", seed=3)
    verification = package.open_run("own_3").verify()
    assert (verification.error, verification.identical) == (None, {"files": True})
    listed = histogram / "results" / "files.json"
    changed = json.loads(listed.read_text())
    changed["results.npz"]["sha256"] = "0" * 64
    listed.write_text(json.dumps(changed))
    assert package.open_run("own_3").verify().identical == {"files": False}
    (histogram / "results.npz").write_bytes(b"")
    (histogram / "results/edges.pkl").unlink()
    code, *printed = call("doctor")
    assert code == 5
    assert all(
        complaint in "".join(printed) for complaint in ("its size has changed", "it is missing")
    )


@pytest.mark.parametrize("script", ["true", "echo said", "echo '{{}}' > {results}"])
def test_a_program_without_numbers_and_files_is_done_and_that_is_said(program, script):
    program(script)
    stdout = call("run", "own").done()
    assert package.open_run("own_0").state == "done"
    if "results" not in script:
        assert "The program gave no numbers and wrote no files" in stdout
        assert "cannot be verified: results missing" in call("verify", "own_0").failed()


@pytest.mark.heavy
def test_programs_without_numbers_are_compared_in_words(program):
    for seed in ("1", "2"):
        assert call("run", program("true"), "--seed", seed).code == 0
    both = call("compare", "own_1", "own_2").done()
    assert "the specs are the same" in both
    assert "none of these runs has results; qexp show lists their files" in both
    assert "there is nothing to compare: own_1 is done without" in call("compare", "own_*").failed()


@pytest.mark.heavy
def test_the_files_of_an_earlier_attempt_are_results_too(program):
    program("touch $QEXP_RUN/attempt{attempt}; test {attempt} = 2")
    with pytest.raises(RunFailedError):
        package.run("own")
    package.run("own", resume=True)
    assert list(package.open_run("own_0").directory.written_by_program()) == [
        "attempt1",
        "attempt2",
    ]


def test_a_program_that_does_not_exist_is_named(program):
    program("-", command=["./nosuch", "{seed}"])
    with pytest.raises(
        RunFailedError, match=r"'./nosuch' cannot be started in .*: No such file or directory"
    ):
        package.run("own")


@pytest.mark.heavy
def test_an_interrupted_program_is_asked_to_end_and_goes_on_with_its_own_command(program):
    script = "trap 'echo asked; exit 0' TERM; echo $$ > ready; while :; do sleep 0.05; done"
    program(script, resume=["sh", "-c", "echo goes on in attempt {attempt}; " + WRITES])
    process, (number,) = working()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 130
    assert package.open_run("own_0").state == "interrupted"
    assert "asked\n" in log_of()
    assert process_start(number) is None
    with pytest.raises(QexpError, match="continue with resume=True"):
        package.run("own")
    assert package.run("own", resume=True).results["test"]["result"]["mae"] == 0.5
    assert "goes on in attempt 2" in log_of(attempt=2)


@pytest.mark.heavy
def test_a_run_whose_program_hears_of_the_end_of_a_job_first_is_interrupted(program):
    program("echo $$ > ready; sleep 300")
    process, (number,) = working()
    os.kill(number, signal.SIGTERM)
    until(lambda: process_start(number) is None, "the end of the program")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 130
    assert package.open_run("own_0").state == "interrupted"


@pytest.mark.heavy
def test_a_program_that_does_not_want_to_end_is_killed_after_a_time_of_grace(program):
    program("trap '' TERM; echo $$ > ready; while :; do sleep 0.05; done", grace=0.2)
    process, (number,) = working()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert process_start(number) is None
    assert package.open_run("own_0").state == "interrupted"


FAMILY = "sleep 300 & echo $! >> ready; setsid sleep 300 & echo $! >> ready; echo $$ >> ready; "
"""A process in the background, one in a session of its own, and the program itself, with their
numbers in a file.
"""


@pytest.mark.heavy
def test_nothing_is_left_of_a_program_whose_qexp_is_killed(program):
    program(FAMILY + "wait")
    process, numbers = working(3)
    assert all(process_start(number) for number in numbers)
    process.kill()
    process.wait(PATIENCE)
    until(lambda: not any(map(process_start, numbers)), "the end of all")
    assert package.open_run("own_0").state == "lost"


@pytest.mark.heavy
def test_nothing_is_left_of_a_program_whose_own_group_is_killed_and_the_run_has_failed(program):
    program(FAMILY + "wait")
    process, numbers = working(3)
    os.killpg(numbers[-1], signal.SIGKILL)
    assert process.wait(PATIENCE) == 1
    assert not any(process_start(number) for number in numbers)
    record = package.open_run("own_0").record
    assert (record["state"], record["error"]) == ("failed", "killed by SIGKILL")


def test_what_a_program_leaves_in_the_background_ends_with_it(program):
    assert package.run(program(FAMILY + WRITES)).state == "done"
    assert not any(process_start(number) for number in numbers_in(Path("ready"), 3))


@pytest.mark.heavy
def test_a_program_ends_with_the_process_that_watches_over_it(program):
    program(FAMILY + "echo $PPID >> ready; wait")
    process, (*numbers, guard) = working(4)
    os.kill(guard, signal.SIGKILL)
    assert process.wait(PATIENCE) == 1
    until(
        lambda: not process_start(numbers[0]) and not process_start(numbers[2]), "the end of both"
    )
    assert "was killed" in package.open_run("own_0").record["error"]
    os.kill(numbers[1], signal.SIGKILL)  # in a session of its own, it is out of reach then


def test_a_program_that_changed_since_the_run_was_prepared_is_not_run(program):
    program()
    run = prepared()
    Path("own.sh").write_text("echo other")
    with pytest.raises(
        RunFailedError, match=r"'own.sh' has changed since .* as they were are in .*code/files"
    ):
        execute(run)


def test_the_content_of_files_and_data_is_part_of_the_digest(program):
    program(data=["specs"])
    here = Workspace(Path.cwd())
    digests = [experience("own", {}, here).digest]
    for name, content in (
        ("own.sh", "true"),
        ("specs/table.csv", "a,b\n"),
        ("specs/table.csv", "a,b\n"),
    ):
        Path(name).write_text(content)
        digests.append(experience("own", {}, here).digest)
    assert len({*digests[:3]}) == 3
    assert digests[3] == digests[2]


def test_files_in_folders_that_data_link_to_are_part_of_the_digest(program, tmp_path):
    program(data=["specs"])
    here, elsewhere = Workspace(Path.cwd()), tmp_path / "elsewhere"
    elsewhere.mkdir()
    Path("specs/large").symlink_to(elsewhere)
    digests = [experience("own", {}, here).digest]
    for content in ("a", "b"):
        (elsewhere / "table.csv").write_text(content)
        digests.append(experience("own", {}, here).digest)
    assert len({*digests}) == 3
    (elsewhere / "back").symlink_to(Path("specs").absolute())
    with pytest.raises(QexpError, match="is a link to a folder around it"):
        experience("own", {}, here)


@pytest.mark.heavy
def test_parameters_are_swept_and_a_misspelt_one_is_an_error(program):
    program()
    call("run", "own", "--grid", "parameters.rate=1,2", "--seeds", "0:2", "-j", "2", "--yes").done()
    found = {
        run["overrides"][0]: run["results"]["test"]["depth"]["mae"]
        for run in package.runs("seed == 1")
    }
    assert found == {"parameters.rate=1": 11, "parameters.rate=2": 21}
    misspelt = call("run", "own", "--set", "parameters.rat=1").failed()
    assert "$.parameters.rat: no parameter 'rat'; did you mean 'rate'?" in misspelt
    study = ("study", "own", "--grid", "parameters.rate=1,2", "--seeds", "0:2")
    assert "give --metric OUTPUT.METRIC" in call(*study).failed()
    call(*study, "--metric", "depth.mae").done()
    assert "depth.mae" in Path("studies/own_rate_depth.mae/study.csv").read_text()


@pytest.mark.heavy
def test_runs_that_write_the_same_file_wait_for_each_other_and_take_nothing_that_was_there(program):
    Path("results.json").write_text('{"mae": 99}')
    script = 'sleep 0.3; test {seed} = 2 || echo "{{\\"mae\\": {seed}}}" > results.json; sleep 0.2'
    program(script, results="results.json")
    assert "so that they wait for each other" in call(
        "run", "own", "--seeds", "0:3", "-j", "3"
    ).failed(4)
    found = {
        run["seed"]: run["results"].get("test", {}).get("result", {}).get("mae")
        for run in package.runs()
    }
    assert found == {0: 0, 1: 1, 2: None}
    assert "which was there before" in package.open_run("own_2").record["error"]


@pytest.mark.parametrize(
    "place", [{"folder": "{run}", "results": "out.json"}, {"results": "{run}/out.json"}]
)
def test_a_program_that_writes_to_its_run_s_folder_waits_for_no_other(program, place):
    script = 'echo \'{{"mae": 1}}\' > "$QEXP_RESULTS"; ls {workspace}/runs'
    run = package.run(program(script, **place))
    assert run.results["test"]["result"]["mae"] == 1
    assert (run.path / "out.json").exists()
    assert not list(run.path.parent.glob("*.lock"))


@pytest.mark.heavy
def test_a_program_and_a_trained_network_stand_in_one_table(here, program, monkeypatch):
    (here / "own.sh").write_text(OWN_PROGRAM)
    (here / "specs/experiences/own.json").write_text(json.dumps(OWN))
    monkeypatch.chdir(here)
    package.run("own", seed=1)
    comparison = json.loads(call("compare", "sound_0", "own_1", "--json").done())
    (row,) = (
        row for row in comparison["results"] if (row["output"], row["metric"]) == ("depth", "mae")
    )
    assert (row["unit"], row["direction"], row["values"][1]) == ("km", "lowest", 0.51)
    assert row["values"][0] > 0
    assert comparison["differences"] == {"type": ['"training"', '"command"']}
    for command in (
        ["predict", "own_1", "own.sh", "--output", "out.csv"],
        ["matrix", "own_1", "--dataset", "sound"],
        ["export", "own_1", "--to", "network", "--format", "onnx"],
        ["run", "sound", "--pretrain", "own_1"],
        ["evaluate", "own_1", "--dataset", "sound"],
    ):
        assert "own_1 is a run of a program and has no network" in call(*command).failed(), command
    assert "qexp draws no figures" in call("figures", "own_1").failed()
    assert call("doctor").code == call("validate").code == 0


@pytest.mark.heavy
@pytest.mark.parametrize(("number", "holds"), [("0.5", True), ("0.$(date +%N)", False)])
def test_a_program_is_verified_by_its_results(program, number, holds):
    program(f'echo "{{{{\\"mae\\": {number}}}}}" > {{results}}')
    verification = package.run("own").verify()
    assert (verification.error, verification.identical) == (None, {"results": holds})


@pytest.mark.heavy
def test_an_imported_program_is_not_executed_without_permission(
    program, tmp_path_factory, monkeypatch
):
    program("touch executed; " + WRITES)
    package.run("own").export("own.zip")
    Path("executed").unlink()
    other = tmp_path_factory.mktemp("other")
    (other / "specs").mkdir()
    imported = call("import", "own.zip", "--workspace", other)
    assert imported.code == 0
    assert "is not executed without --trust-code" in imported.stderr
    assert "runs: 'sh', '-c'" in imported.stderr
    assert (
        "was imported and has code of its own"
        in call("verify", "own_0", "--workspace", other).failed()
    )
    assert not list(other.rglob("executed"))
    assert call("verify", "own_0", "--trust-code", "--workspace", other).code == 0


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("command.2", "{sed}", "$.command[2]: no placeholder '{sed}'; did you mean 'seed'?"),
        (
            "command.3",
            "{parameters.rat}",
            "no placeholder '{parameters.rat}'; did you mean 'parameters.rate'?",
        ),
        ("command.3", "{", "$.command[3]: a single '{'; write '{{' for a brace"),
        ("command", [], "$.command: must have at least 1 item, but"),
        ("command.0", "", "$.command[0]: the name of the program is empty"),
        ("folder", "{results}", "$.folder: no placeholder '{results}'"),
        ("files", ["own.s"], "$.files[0]: there is no file 'own.s' in"),
        ("files", ["../own.sh"], "$.files[0]: '../own.sh' is not below the workspace"),
        ("files", ["specs"], "$.files[0]: 'specs' is a folder; name its files"),
        ("data", ["own.sh"], "$.data[0]: 'own.sh' is among the 'files' as well"),
        ("metrics", {"mae": {"best": "highest"}}, "$.metrics.mae: 'mae' is a metric of qexp"),
        (
            "metrics.score.best",
            "hihgest",
            "$.metrics.score.best: no direction 'hihgest'; did you mean 'highest'?",
        ),
        ("env", {"A B": "1"}, "$.env: 'A B' is not a name"),
        ("type", "comand", "$.type: no experience type 'comand'; did you mean 'command'?"),
        ("dataset", {"type": "generated"}, "$.dataset: must be a text, but is an object"),
        ("comand", ["true"], "$.comand: unknown key 'comand'; did you mean 'command'?"),
        ("command.1", "\0", "$.command[1]: holds a null character"),
    ],
)
def test_a_command_that_cannot_run_is_pointed_at(program, change, value, message):
    program()
    Path("specs/experiences/own.json").write_text(json.dumps(put(OWN, change, value)))
    with pytest.raises(SpecError) as refusal:
        experience("own", {}, Workspace(Path.cwd()))
    assert message in str(refusal.value)
    assert not Path("runs").exists()


@pytest.mark.heavy
def test_a_program_is_run_without_torch(program):
    program(WRITES)
    commands = [["execute", str(prepared().path)], ["ls"], ["show", "own_0"]]
    # to execute a program prints nothing
    look = CALL_AND_LOOK.replace("assert said.getvalue(), arguments", "")
    loaded = said_by_a_new_process(look, json.dumps(HEAVY), json.dumps(commands))
    assert loaded == {" ".join(command): [] for command in commands}


def test_a_program_that_is_not_hashed_is_a_warning(program):
    program(files=[])
    (where,) = [
        text for text in call("validate").stderr.splitlines() if "not among 'files'" in text
    ]
    assert "$.command[1]: 'own.sh' is a file of the workspace" in where
    program()
    assert "not among" not in call("validate").stderr


@pytest.mark.heavy
def test_a_plain_program_that_writes_its_results_where_it_is_started_needs_no_change(program):
    Path("train.py").write_text(
        "import json, os, sys\nrate ="
        " json.load(open(os.environ['QEXP_PARAMETERS']))['rate']\njson.dump({'test': {'depth':"
        " {'mae': rate * int(sys.argv[2])}}}, open('results.json', 'w'))\n"
    )
    command = ["python3", "train.py", "--seed", "{seed}"]
    program("-", command=command, parameters={"rate": 0.5}, results="results.json")
    for seed, error in ((3, 1.5), (4, 2.0)):
        assert package.run("own", seed=seed).results == {"test": {"depth": {"mae": error}}}

"""Code that an archive brings is executed only where the user says so; code of runs that were made
here always is.
"""

import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import qexp as package
from qexp.errors import UntrustedCodeError
from qexp.spec.extensions import code_in_words
from tests.conftest import Specs, call
from tests.runs.conftest import contents

MARKING = """
import os
from pathlib import Path
from torch import nn
from qexp.extend import Entry

def halved(shape, /):
    Path(os.environ["MARK_OF_CODE"]).touch()
    return nn.Identity()

class Unused: ...

MODULES = {"halved": Entry(build=halved, parameters={}, help="Nothing.", example={"module": "halved"})}
Path(os.environ["MARK_OF_CODE"]).touch()
"""

AXES = ["--axis", "depth=0.5:3:2", "--axis", "delta_volume=0.5:3:2"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace whose code leaves a mark when it is executed, and archives of two
    of its runs: one that is done, and one that was interrupted.
    """

    folder = tmp_path_factory.mktemp("elsewhere")
    specs = Specs(folder / "workspace")
    (folder / "workspace/specs/extensions.py").write_text(MARKING)
    specs.spoil("model", ("operations.look", {"module": "halved"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARK_OF_CODE", str(folder / "mark"))
        for seed in (0, 1):
            call(
                "run",
                "sound",
                "--seed",
                str(seed),
                "--device",
                "cpu",
                "--workspace",
                folder / "workspace",
            ).done()
    record = folder / "workspace/runs/sound_1/run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "state": "interrupted"}))
    for name in ("sound_0", "sound_1"):
        call(
            "export", name, "--to", folder / f"{name}.zip", "--workspace", folder / "workspace"
        ).done()
    return folder


@pytest.fixture
def mark(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the code of the runs touches when it is executed. The current directory is a workspace
    of the same specs, but with no code of its own yet.
    """
    shutil.copytree(archives / "workspace/specs", tmp_path / "specs")
    (tmp_path / "specs/extensions.py").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARK_OF_CODE", str(tmp_path / "mark"))
    return tmp_path / "mark"


def used(mark: Path) -> bool:
    """Whether the code was executed since the last call."""
    there = mark.exists()
    mark.unlink(missing_ok=True)
    return there


COMMANDS = {
    "matrix": ["matrix", "sound_0", "--dataset", "sound", *AXES],
    "export": ["export", "sound_0", "--to", "network"],
    "verify": ["verify", "sound_0"],
}


@pytest.mark.heavy
@pytest.mark.parametrize("command", COMMANDS)
def test_code_that_an_archive_brings_is_executed_with_trust_code_alone(
    archives, mark, qexp, command
):
    code, _, stderr = qexp("import", archives / "sound_0.zip")
    assert code == 0
    for words in (
        "the run contains code",
        "which is not executed without --trust-code",
        "MODULES: 'halved'",
    ):
        assert words in stderr
    shown = qexp("show", "sound_0").stdout
    assert "from sound_0.zip, " in shown
    assert "code that it brings is not trusted" in shown
    before = set(Path.cwd().rglob("*"))
    code, stdout, stderr = qexp(*COMMANDS[command])
    assert (code, stdout, used(mark)) == (2, "", False)
    for words in (
        "sound_0 was imported and has code of its own", "runs/sound_0/code/extensions.py", "bytes",
        "MODULES: 'halved'", "defines halved, Unused", "imports os, pathlib, torch", "--trust-code",
    ):  # fmt: skip
        assert words in stderr
    assert set(Path.cwd().rglob("*")) == before
    code, _, stderr = qexp(*COMMANDS[command], "--trust-code")
    assert (code, used(mark)) == (0, True), stderr
    code, _, _ = qexp(*COMMANDS[command])  # which was said for one command
    assert (code, used(mark)) == (2, False)


def test_nothing_that_reads_executes_the_code_of_a_run(archives, mark, qexp):
    assert qexp("import", archives / "sound_0.zip").code == 0
    for command in (
        ["ls"],
        ["show", "sound_0"],
        ["logs", "sound_0"],
        ["doctor"],
        ["note", "sound_0", "mine"],
        ["reindex"],
        ["export", "sound_0", "--to", "again.zip"],
        ["rm", "sound_0"],
        ["restore", "sound_0"],
    ):
        assert (qexp(*command).code, used(mark)) == (0, False), command


@pytest.mark.heavy
def test_code_that_is_trusted_on_import_is_executed_from_then_on_but_not_where_an_archive_claims_that(
    archives, mark, qexp
):
    code, _, stderr = qexp("import", archives / "sound_0.zip", "--trust-code", "--name", "one")
    assert (code, "which commands execute from now on" in stderr) == (0, True)
    assert (qexp("export", "one", "--to", "ours").code, used(mark)) == (0, True)
    assert qexp("export", "one", "--to", "one.zip").code == 0
    assert qexp("import", "one.zip", "--name", "two").code == 0
    assert json.loads(Path("runs/one/run.json").read_text())["imported"]["code_trusted"] is True
    assert json.loads(Path("runs/two/run.json").read_text())["imported"]["code_trusted"] is False
    assert (qexp("export", "two", "--to", "network").code, used(mark)) == (2, False)


def test_code_that_lies_deeper_in_an_imported_run_is_not_executed_either(archives, mark, qexp):
    assert qexp("import", archives / "sound_0.zip", "--name", "guest").code == 0
    shutil.copytree("runs/guest", "inner")
    record = json.loads(Path("inner/run.json").read_text())
    Path("inner/run.json").write_text(json.dumps({**record, "imported": None}))
    for place in ("folds/001", "results/inner"):
        shutil.copytree("inner", Path("runs/guest") / place)
    for reference in ("guest/folds/001", "runs/guest/folds/001", "runs/guest/results/inner"):
        code, _, stderr = qexp("export", reference, "--to", "network")
        assert (code, used(mark)) == (2, False)
        assert "--trust-code" in stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    "command", [["run", "sound", "--seed", "1"], ["run", "sound", "--seeds", "1"]]
)
def test_an_imported_run_is_continued_with_its_own_code_only_where_that_is_trusted(
    archives, mark, qexp, command
):
    shutil.copyfile(archives / "workspace/specs/extensions.py", "specs/extensions.py")
    assert qexp("import", archives / "sound_1.zip").code == 0
    # Other code than the run's digest was made of, which nobody looks at before it is executed:
    Path("runs/sound_1/code/extensions.py").write_text(
        MARKING.replace("MARK_OF_CODE", "OTHER_MARK")
    )
    assert (
        "sound_1 was imported and has code of its own"
        in qexp(*command, "--resume", "--device", "cpu").failed()
    )
    assert json.loads(Path("runs/sound_1/run.json").read_text())["state"] == "interrupted"
    shutil.copyfile("specs/extensions.py", "runs/sound_1/code/extensions.py")
    qexp(*command, "--resume", "--device", "cpu", "--trust-code").done()
    assert json.loads(Path("runs/sound_1/run.json").read_text())["state"] == "done"


def test_a_process_that_executes_an_imported_run_refuses_before_it_writes(archives, mark, qexp):
    assert qexp("import", archives / "sound_1.zip").code == 0
    before = contents(Path("runs/sound_1"))
    for command in ("execute", "train-folds"):
        assert (qexp(command, "runs/sound_1").code, used(mark)) == (2, False)
    assert contents(Path("runs/sound_1")) == before


@pytest.mark.heavy
def test_in_python_code_is_trusted_by_the_run_by_the_import_or_for_one_call(archives, mark):
    images = np.zeros((1, 16, 16))
    run = package.import_run(archives / "sound_0.zip")
    for refused in (
        lambda: run.predict(displacement=images),
        lambda: run.verify(),
        lambda: package.matrix(
            run, "sound", axes={"depth": (0.5, 3, 2), "delta_volume": (0.5, 3, 2)}
        ),
        lambda: package.export_network(run, "network"),
    ):
        with pytest.raises(UntrustedCodeError, match="trust_code=True"):
            refused()
        assert not used(mark)
    package.export_network("sound_0", "network", trust_code=True)
    assert used(mark)
    assert package.open_run("sound_0", trust_code=True).predict(displacement=images)[
        "depth"
    ].shape == (1,)
    assert used(mark)
    trusted = package.import_run(archives / "sound_0.zip", name="other", trust_code=True)
    assert trusted.predict(displacement=images)["depth"].shape == (1,)
    assert used(mark)


@pytest.mark.heavy
def test_a_run_that_was_made_here_is_used_with_its_code_as_before(
    archives, tmp_path, qexp, monkeypatch
):
    monkeypatch.setenv("MARK_OF_CODE", str(tmp_path / "mark"))
    done = qexp(
        "export", "sound_0", "--to", tmp_path / "network", "--workspace", archives / "workspace"
    )
    assert (done.code, used(tmp_path / "mark")) == (0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "0 bytes"),
        (b"def (", "which Python cannot read"),
        (b"x = '\0'", "which Python cannot read"),
        (b"(" * 100_000, "which Python cannot read"),
        (b"-" * 200_000 + b"1", "which Python cannot read"),
        (b"#" * 2_000_000, "too large to be inspected"),
        (b"MODULES = {'\\x1b[31m': 1, **other, key: 2}", r"MODULES: '\x1b[31m'"),
        (
            b"".join(b"def f%d(): ...\n" % number for number in range(9)),
            "defines f0, f1, f2, f3, f4, …",
        ),
    ],
    ids=["empty", "broken", "null", "nested", "signs", "large", "escape", "many"],
)
def test_what_code_is_can_be_said_of_any_file_without_executing_it(tmp_path, text, said):
    (tmp_path / "extensions.py").write_bytes(text)
    assert said in code_in_words(tmp_path / "extensions.py")


@pytest.mark.heavy
def test_one_function_alone_executes_the_code_of_runs():
    """All others are handed the tables, or those of the workspace, which are the user's own."""
    users = set()
    source = Path(package.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("tables_with", "tables_of_a_run")
            ):
                (argument,) = map(ast.unparse, node.args)
                if argument not in (
                    "workspace.extensions",
                    "find(named).extensions",
                    "Path('no extensions')",
                ):
                    users.add(str(path.relative_to(source)))
    assert users == {"kinds/tables.py"}

"""`qexp data`: what it prints, what it refuses, and what it leaves behind when it is stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Outcome, call, started

QUICK = ["--glaciers", "2", "--frames", "2", "--size", "16", "--spacing", "500"]

LONG = ["data", "ice", "--out", "ice", "--glaciers", "1000"]
"""Takes longer than any test."""


def ice(out: Path, *options: str) -> Outcome:
    """With the options given in place of those that make it quick."""
    pairs = dict(zip(QUICK[::2], QUICK[1::2], strict=True)) | dict(zip(options[::2], options[1::2], strict=False))
    alone = [options[-1]] if len(options) % 2 else []
    words = [word for pair in pairs.items() for word in pair if word not in alone]
    return call("data", "ice", "--out", out, *words, *alone)


@pytest.mark.slow
def test_the_folders_go_to_stdout_and_what_they_took_to_stderr(tmp_path: Path):
    code, stdout, stderr = ice(tmp_path / "ice")
    assert code == 0
    assert stdout.splitlines() == [str(tmp_path / "ice/test/valley_000"), str(tmp_path / "ice/train/cap_001")]
    assert all((Path(folder) / "ex.nc").is_file() for folder in stdout.splitlines())
    assert stderr.startswith("2 glaciers of 2 frames in ")
    assert len(stderr.splitlines()) == 1


@pytest.mark.heavy
def test_a_quarter_is_for_the_test_unless_said_otherwise(tmp_path: Path):
    assert ice(tmp_path / "quarter", "--glaciers", "8", "--frames", "1").stdout.count("/test/") == 2
    assert ice(tmp_path / "half", "--glaciers", "4", "--frames", "1", "--test", "2").stdout.count("/test/") == 2
    assert ice(tmp_path / "none", "--glaciers", "1", "--frames", "1").stdout.count("/test/") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--glaciers", "0"], "--glaciers 0: from 1"),
        (["--test", "2"], "--test 2: from 0 to one less than there are glaciers, 1"),
        (["--test", "-1"], "--test -1"),
        (["--frames", "0"], "--frames 0: from 1"),
        (["--size", "-4"], "--size -4: from 16"),
        (["--spacing", "0"], "--spacing 0: from 20"),
        (["--spacing", "100"], "--size 16 and --spacing 100: a frame of 1600 m; glaciers need 3000 m or more"),
        (["--spacing", "nan"], "--spacing nan: from 20"),
        (["--seed", "-1"], "--seed -1: a whole number from 0"),
        (["--arrhenius", "80:20"], "--arrhenius 80:20: LOW:HIGH in MPa"),
        (["--arrhenius", "0:20"], "above 0"),
        (["--arrhenius", "20:40:80"], "--arrhenius 20:40:80: a number, or two as LOW:HIGH, such as 20:80"),
        (["--sliding", "a:b"], "--sliding a:b: a number, or two as LOW:HIGH"),
        (["--sliding", "-1:4"], "--sliding -1:4: LOW:HIGH in km"),
        (["--sliding", "0:inf"], "--sliding 0:inf"),
        (["--coupling", "0"], "--coupling 0.0: in ice thicknesses, above 0"),
        (["--coupling", "nan"], "--coupling nan"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_what_would_work(tmp_path: Path, options, said):
    code, stdout, stderr = ice(tmp_path / "ice", *options)
    assert (code, stdout) == (2, "")
    assert said in stderr
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    stderr = ice(tmp_path / "ice", "--frames", "0", "--size", "2", "--coupling", "-1").stderr
    assert {line.split()[0] for line in stderr.splitlines()[1:]} == {"--frames", "--size", "--coupling"}


@pytest.mark.heavy
def test_glaciers_that_are_there_are_made_anew_only_on_demand_and_other_folders_never(tmp_path: Path):
    assert ice(tmp_path / "ice").code == 0
    code, _, stderr = ice(tmp_path / "ice", "--seed", "1")
    assert code == 2
    assert "--overwrite replaces it" in stderr
    before = (tmp_path / "ice/test/valley_000/ex.nc").read_bytes()
    assert ice(tmp_path / "ice", "--seed", "1", "--overwrite").code == 0
    assert (tmp_path / "ice/test/valley_000/ex.nc").read_bytes() != before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("1")
    code, _, stderr = ice(tmp_path / "thesis", "--overwrite")
    assert code == 2
    assert "holds something else already" in stderr
    assert ice(tmp_path / "thesis/chapter.txt").stderr.endswith("is a file; give a folder that is not there yet\n")
    assert ice(tmp_path / "thesis/chapter.txt/ice").code == 2
    assert (tmp_path / "thesis/chapter.txt").read_text() == "1"


@pytest.mark.slow
def test_the_folder_that_a_shell_stands_in_is_not_taken_away_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for place in (Path(), Path("/")):
        code, _, stderr = ice(place)
        assert code == 2
        assert "where this command was started, or above it; give a folder below" in stderr
    assert ice(Path("below")).code == 0


@pytest.mark.slow
def test_an_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "ice").mkdir()
    assert ice(tmp_path / "ice").code == 0
    assert (tmp_path / "ice/README.md").is_file()


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals):
    process = started(tmp_path, *LONG, "--size", "32", "--frames", "2")
    limit = time.monotonic() + 120
    while not list(tmp_path.glob(".ice.*.draft/test/*/ex.nc")) and time.monotonic() < limit:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_disk_that_takes_no_more_is_an_error_that_says_so_and_leaves_nothing_behind(tmp_path: Path):
    # A limit on the size of files fails as a full disk does.
    process = started(tmp_path, *LONG, "--size", "64", "--frames", "1", before="ulimit -f 4;")
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.startswith("error: cannot write ")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_notebook_makes_the_same_glaciers(qexp, tmp_path: Path):
    import qexp as package

    options = ["--glaciers", "2", "--size", "20", "--frames", "1", "--seed", "3", "--sliding", "5:9"]
    assert qexp("data", "ice", "--out", tmp_path / "shell", *options).code == 0
    glaciers = package.make_ice(tmp_path / "notebook", 2, size=20, frames=1, seed=3, sliding=(5.0, 9.0))
    assert len(glaciers) == 2
    for folder in [glacier.folder for glacier in glaciers]:
        twin = tmp_path / "shell" / folder.relative_to(tmp_path / "notebook") / "ex.nc"
        assert twin.read_bytes() == (folder / "ex.nc").read_bytes()

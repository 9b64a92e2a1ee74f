"""`qexp data xrf`: what it prints, what it refuses, and what it leaves behind when it is stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Outcome, call, started

QUICK = ["--cores", "4", "--spectra", "3", "--labelled", "2"]

LONG = ["data", "xrf", "--out", "xrf", "--cores", "1000"]
"""Takes longer than any test."""


def xrf(out: Path, *options: str) -> Outcome:
    """With the options given in place of those that make it quick."""
    pairs = dict(zip(QUICK[::2], QUICK[1::2], strict=True)) | dict(zip(options[::2], options[1::2], strict=False))
    alone = [options[-1]] if len(options) % 2 else []
    words = [word for pair in pairs.items() for word in pair if word not in alone]
    return call("data", "xrf", "--out", out, *words, *alone)


@pytest.mark.slow
def test_the_folders_go_to_stdout_and_what_they_took_to_stderr(tmp_path: Path):
    code, stdout, stderr = xrf(tmp_path / "xrf")
    assert code == 0
    places = [f"{name}/{part}" for name in ("pretrain", "caco3", "toc") for part in ("test", "train")]
    assert stdout.splitlines() == [str(tmp_path / "xrf" / place) for place in places]
    assert all((Path(folder) / "info.csv").is_file() for folder in stdout.splitlines())
    assert stderr.startswith("12 spectra of 4 cores, 8 of them with CaCO3 and TOC, in ")
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cores", "0"], "--cores 0: from 1"),
        (["--cores", "5000"], "--cores 5000: from 1 to 1000"),
        (["--test", "4"], "--test 4: from 0 to one less than there are cores, 3"),
        (["--test", "-1"], "--test -1"),
        (["--test", "2", "--validation", "2"], "--validation 2: from 0 to one less than there are cores that are not"),
        (["--validation", "-1"], "--validation -1"),
        (["--spectra", "0"], "--spectra 0: from 1"),
        (["--labelled", "4"], "--labelled 4: from 0 to the spectra of a core, 3"),
        (["--labelled", "-1"], "--labelled -1"),
        (["--voltage", "50"], "--voltage 50: in kV, 10 or 30, or both as 10,30"),
        (["--voltage", "10,,30"], "--voltage 10,,30: a whole number, or several with commas, such as 10,30"),
        (["--voltage", ""], "--voltage is empty; give it a value"),
        (["--seed", "-1"], "--seed -1: a whole number from 0"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_what_would_work(tmp_path: Path, options, said):
    code, stdout, stderr = xrf(tmp_path / "xrf", *options)
    assert (code, stdout) == (2, "")
    assert said in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_spectra_that_are_there_are_made_anew_only_on_demand(tmp_path: Path):
    assert xrf(tmp_path / "xrf").code == 0
    code, _, stderr = xrf(tmp_path / "xrf", "--seed", "1")
    assert code == 2
    assert "--overwrite replaces it" in stderr
    before = (tmp_path / "xrf/toc/test/target/core_000_0000.csv").read_text()
    assert xrf(tmp_path / "xrf", "--seed", "1", "--overwrite").code == 0
    assert (tmp_path / "xrf/toc/test/target/core_000_0000.csv").read_text() != before


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals):
    process = started(tmp_path, *LONG)
    limit = time.monotonic() + 120
    while not list(tmp_path.glob(".xrf.*.draft/toc/*/target/*.csv")) and time.monotonic() < limit:
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
    process = started(tmp_path, *LONG, before="ulimit -f 4;")
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.startswith("error: cannot write ")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_notebook_makes_the_same_spectra(qexp, tmp_path: Path):
    import qexp as package

    assert qexp("data", "xrf", "--out", tmp_path / "shell", *QUICK, "--seed", "3", "--voltage", "10,30").code == 0
    folders = package.make_xrf(tmp_path / "notebook", 4, spectra=3, labelled=2, seed=3, voltage=(10, 30)).folders
    assert len(folders) == 6
    written = [path for path in (tmp_path / "notebook").rglob("*") if path.is_file()]
    assert len(written) > 40
    for path in written:
        assert (tmp_path / "shell" / path.relative_to(tmp_path / "notebook")).read_bytes() == path.read_bytes()

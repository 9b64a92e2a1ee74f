"""`qexp data` ice, xrf and observation: what they print, refuse, and leave behind when they are
stopped.
"""

import signal
import time
from functools import partial
from pathlib import Path

import pytest

import qexp as package
from tests.conftest import Outcome, call, started

QUICK = {
    "ice": ["--glaciers", "2", "--frames", "2", "--size", "16", "--spacing", "500"],
    "xrf": ["--cores", "4", "--spectra", "3", "--labelled", "2"],
    "observation": ["--size", "20", "--stations", "2"],
}

LONG = {"ice": ["--glaciers", "1000", "--size", "48", "--frames", "1"], "xrf": ["--cores", "1000"]}
"""What takes longer than any test."""


def make(kind: str, out: Path, *options: str) -> Outcome:
    """With the options given in place of those that make it quick."""
    quick = QUICK[kind]
    pairs = dict(zip(quick[::2], quick[1::2], strict=True)) | dict(
        zip(options[::2], options[1::2], strict=False)
    )
    alone = [options[-1]] if len(options) % 2 else []
    words = [word for pair in pairs.items() for word in pair if word not in alone]
    return call("data", kind, "--out", out, *words, *alone)


ice = partial(make, "ice")

OF_XRF = [f"{name}/{part}" for name in ("pretrain", "caco3", "toc") for part in ("test", "train")]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "folders", "file", "took"),
    [
        ("ice", ["test/valley_000", "train/cap_001"], "ex.nc", "2 glaciers of 2 frames in "),
        ("xrf", OF_XRF, "info.csv", "12 spectra of 4 cores, 8 of them with CaCO3 and TOC, in "),
    ],
)
def test_the_folders_of_data_go_to_stdout_and_what_they_took_to_stderr(
    tmp_path: Path, kind, folders, file, took
):
    (tmp_path / kind).mkdir()  # an empty folder is filled
    code, stdout, stderr = make(kind, tmp_path / kind)
    assert code == 0
    assert stdout.splitlines() == [str(tmp_path / kind / folder) for folder in folders]
    assert all((Path(folder) / file).is_file() for folder in stdout.splitlines())
    assert stderr.startswith(took)
    assert len(stderr.splitlines()) == 1
    assert (tmp_path / kind / "README.md").is_file()


@pytest.mark.heavy
def test_a_quarter_is_for_the_test_unless_said_otherwise(tmp_path: Path):
    assert ice(tmp_path / "quarter", "--glaciers", "8", "--frames", "1").stdout.count("/test/") == 2
    assert (
        ice(tmp_path / "half", "--glaciers", "4", "--frames", "1", "--test", "2").stdout.count(
            "/test/"
        )
        == 2
    )
    assert ice(tmp_path / "none", "--glaciers", "1", "--frames", "1").stdout.count("/test/") == 0


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("ice", ["--glaciers", "0"], "--glaciers 0: from 1"),
        ("ice", ["--test", "2"], "--test 2: from 0 to one less than there are glaciers, 1"),
        ("ice", ["--test", "-1"], "--test -1"),
        ("ice", ["--frames", "0"], "--frames 0: from 1"),
        ("ice", ["--size", "-4"], "--size -4: from 16"),
        ("ice", ["--spacing", "0"], "--spacing 0: from 20"),
        (
            "ice",
            ["--spacing", "100"],
            "--size 16 and --spacing 100: a frame of 1600 m; glaciers need 3000 m or more",
        ),
        ("ice", ["--spacing", "nan"], "--spacing nan: from 20"),
        ("ice", ["--seed", "-1"], "--seed -1: a seed is a whole number from 0 on"),
        ("ice", ["--arrhenius", "80:20"], "--arrhenius 80:20: LOW:HIGH in MPa"),
        ("ice", ["--arrhenius", "0:20"], "above 0"),
        (
            "ice",
            ["--arrhenius", "20:40:80"],
            "--arrhenius 20:40:80: a number, or two as LOW:HIGH, such as 20:80",
        ),
        ("ice", ["--sliding", "a:b"], "--sliding a:b: a number, or two as LOW:HIGH"),
        ("ice", ["--sliding", "-1:4"], "--sliding -1:4: LOW:HIGH in km"),
        ("ice", ["--sliding", "0:inf"], "--sliding 0:inf"),
        ("ice", ["--coupling", "0"], "--coupling 0.0: in ice thicknesses, above 0"),
        ("ice", ["--coupling", "nan"], "--coupling nan"),
        ("xrf", ["--cores", "0"], "--cores 0: from 1"),
        ("xrf", ["--cores", "5000"], "--cores 5000: from 1 to 1000"),
        ("xrf", ["--test", "4"], "--test 4: from 0 to one less than there are cores, 3"),
        ("xrf", ["--test", "-1"], "--test -1"),
        (
            "xrf",
            ["--test", "2", "--validation", "2"],
            "--validation 2: from 0 to one less than there are cores that",
        ),
        ("xrf", ["--validation", "-1"], "--validation -1"),
        ("xrf", ["--spectra", "0"], "--spectra 0: from 1"),
        ("xrf", ["--labelled", "4"], "--labelled 4: from 0 to the spectra of a core, 3"),
        ("xrf", ["--labelled", "-1"], "--labelled -1"),
        ("xrf", ["--voltage", "50"], "--voltage 50: in kV, 10 or 30, or both as 10,30"),
        (
            "xrf",
            ["--voltage", "10,,30"],
            "--voltage 10,,30: a whole number, or several with commas, such as 10,30",
        ),
        ("xrf", ["--voltage", ""], "--voltage is empty; give it a value"),
        ("xrf", ["--seed", "-1"], "--seed -1: a seed is a whole number from 0 on"),
        ("observation", ["--size", "3"], "--size 3: from 20 to 2000"),
        ("observation", ["--gaps", "nan"], "--gaps nan: from 0 to 0.8"),
        (
            "observation",
            ["--unit", "km"],
            "--unit km: no unit of displacements; choose from m, cm, mm",
        ),
        ("observation", ["--noise", "exp:1,2"], "--noise exp:1,2: no noise 'exp'; "),
        (
            "observation",
            ["--source", "penny"],
            "--source penny: give the value of depth, radius, pressure_over_mu with --at",
        ),
        (
            "observation",
            ["--at", "depth=3000"],
            "--at depth: depth is in km, and 3,000 km is far beyond",
        ),
        ("observation", ["--at", "radius=1"], "--at radius: the source has no such parameter"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_what_would_work(
    tmp_path: Path, kind, options, complaint
):
    assert complaint in make(kind, tmp_path / "made", *options).refused()
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    stderr = ice(tmp_path / "ice", "--frames", "0", "--size", "2", "--coupling", "-1").stderr
    assert {line.split()[0] for line in stderr.splitlines()[1:]} == {
        "--frames",
        "--size",
        "--coupling",
    }


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("ice", "test/valley_000/ex.nc"),
        ("xrf", "toc/test/target/core_000_0000.csv"),
        ("observation", "gnss.csv"),
    ],
)
def test_data_that_are_there_are_made_anew_only_on_demand(tmp_path: Path, kind, file):
    assert make(kind, tmp_path / kind).code == 0
    assert "--overwrite replaces it" in make(kind, tmp_path / kind, "--seed", "1").failed()
    before = (tmp_path / kind / file).read_bytes()
    assert make(kind, tmp_path / kind, "--seed", "1", "--overwrite").code == 0
    assert (tmp_path / kind / file).read_bytes() != before


def test_folders_and_files_of_others_are_never_replaced(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("1")
    assert "holds something else already" in ice(tmp_path / "thesis", "--overwrite").failed()
    assert ice(tmp_path / "thesis/chapter.txt").stderr.endswith(
        "is a file; give a folder that is not there yet\n"
    )
    assert ice(tmp_path / "thesis/chapter.txt/ice").code == 2
    assert (tmp_path / "thesis/chapter.txt").read_text() == "1"


@pytest.mark.heavy
def test_the_folder_that_a_shell_stands_in_is_not_taken_away_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for folder in (Path(), Path("/")):
        assert (
            "where this command was started, or above it; give a folder below"
            in ice(folder).failed()
        )
    assert ice(Path("below")).code == 0


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "begun"), [("ice", "test/*/ex.nc"), ("xrf", "toc/*/target/*.csv")]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, kind: str, begun: str, number: signal.Signals
):
    process = started(tmp_path, "data", kind, "--out", "made", *LONG[kind])
    limit = time.monotonic() + 120
    while not list(tmp_path.glob(f".made.*.draft/{begun}")) and time.monotonic() < limit:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr.endswith("interrupted\n")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
@pytest.mark.parametrize("kind", LONG)
def test_a_disk_that_takes_no_more_is_an_error_that_says_so_and_leaves_nothing_behind(
    tmp_path: Path, kind: str
):
    # A limit on the size of files fails as a full disk does.
    process = started(tmp_path, "data", kind, "--out", "made", *LONG[kind], before="ulimit -f 4;")
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.startswith("error: cannot write ")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_notebook_makes_the_same_glaciers(qexp, tmp_path: Path):
    options = [
        "--glaciers",
        "2",
        "--size",
        "20",
        "--frames",
        "1",
        "--seed",
        "3",
        "--sliding",
        "5:9",
    ]
    qexp("data", "ice", "--out", tmp_path / "shell", *options).done()
    glaciers = package.make_ice(
        tmp_path / "notebook", 2, size=20, frames=1, seed=3, sliding=(5.0, 9.0)
    )
    assert len(glaciers) == 2
    for file in [glacier.folder / "ex.nc" for glacier in glaciers]:
        assert (
            tmp_path / "shell" / file.relative_to(tmp_path / "notebook")
        ).read_bytes() == file.read_bytes()


@pytest.mark.heavy
def test_a_notebook_makes_the_same_spectra(tmp_path: Path):
    make("xrf", tmp_path / "shell", "--seed", "3", "--voltage", "10,30").done()
    assert (
        len(
            package.make_xrf(
                tmp_path / "notebook", 4, spectra=3, labelled=2, seed=3, voltage=(10, 30)
            ).folders
        )
        == 6
    )
    written = [path for path in (tmp_path / "notebook").rglob("*") if path.is_file()]
    assert len(written) > 40
    for path in written:
        assert (
            tmp_path / "shell" / path.relative_to(tmp_path / "notebook")
        ).read_bytes() == path.read_bytes()

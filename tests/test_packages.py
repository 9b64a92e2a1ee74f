"""Installed packages add entries to tables: the example that the documents show, and packages that
are broken.
"""

import json
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from qexp.base import tables
from qexp.errors import QexpError
from qexp.kinds.tables import OPEN, tables_with
from tests.cli.test_completion import completed
from tests.conftest import ROOT, call
from tests.documents.reader import SMALLER, only_shown

EXAMPLE = ROOT / "packaging/example"

MINE = """
from qexp.extend import Entry
LOSS = Entry(lambda: abs, {}, "Mine.", {"type": "mine"})
WRONG = "a text"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed("lab", "[qexp.losses]\\nmine = lab:LOSS")`: as pip leaves a package; tables know
    nothing of it yet.
    """

    def install(name: str, points: str, code: str = MINE) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        metadata = tmp_path / f"{name}-2.1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
        (metadata / "entry_points.txt").write_text(points)

    def forget() -> None:
        tables.entry_points.cache_clear()
        tables.loaded.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield install
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)
    forget()


def test_an_entry_of_a_package_is_found_by_its_name_and_where_all_are_listed(installed):
    installed("lab", "[qexp.losses]\nmine = lab:LOSS\n[console_scripts]\nlab = lab:LOSS\n")
    assert "lab" not in sys.modules
    assert "mse" in OPEN["losses"]
    assert "lab" not in sys.modules, "a name that is built in needs no package"
    assert OPEN["losses"]["mine"].help == "Mine."
    assert "mine" in list(OPEN["losses"])
    assert "mine  " in call("tables", "losses").stdout
    assert "no_such" not in OPEN["losses"]


def test_a_package_that_is_broken_is_named_and_left_out_and_the_others_stay(installed):
    installed("bad", "[qexp.losses]\nfirst = bad:LOSS\n", "raise RuntimeError('no licence')")
    installed("worse", "[qexp.losses]\nsecond = worse:WRONG\nthird = worse:MISSING\n")
    installed("good", "[qexp.losses]\nmine = good:LOSS\n")
    with pytest.warns(UserWarning, match="it is left out") as told:
        names = list(OPEN["losses"])
    said = sorted(str(warning.message) for warning in told)
    assert said == [
        f"the package {words}; it is left out"
        for words in (
            "bad 2.1: 'first' of qexp.losses (bad:LOSS) cannot be loaded: RuntimeError: no licence",
            "worse 2.1: 'second' of qexp.losses (worse:WRONG) must be a qexp.extend.Entry",
            (
                "worse 2.1: 'third' of qexp.losses (worse:MISSING) cannot be loaded:"
                " AttributeError: module 'worse' has no attribute 'MISSING'"
            ),
        )
    ]
    assert {"mine", "mse"} <= set(names)
    assert not {"first", "second", "third"} & set(names)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (
            {"lab": "mse"},
            (
                "the package lab 2.1 has 'mse' in its entry points of qexp.losses, which qexp"
                " itself has"
            ),
        ),
        (
            {"lab": "mine", "other": "mine"},
            "has 'mine' in its entry points of qexp.losses, which (lab|other) 2.1 has",
        ),
    ],
)
def test_a_name_that_is_taken_is_an_error_that_names_both(installed, points, words):
    for package, name in points.items():
        installed(package, f"[qexp.losses]\n{name} = {package}:LOSS\n")
    with pytest.raises(QexpError, match=words):
        list(OPEN["losses"])


def test_the_entry_of_a_workspace_precedes_that_of_a_package(installed, tmp_path):
    installed("lab", "[qexp.losses]\nmine = lab:LOSS\n")
    own = tmp_path / "extensions.py"
    own.write_text(MINE.replace("Mine.", "Own.") + "LOSSES = {'mine': LOSS}\n")
    assert tables_with(own)["losses"]["mine"].help == "Own."


def test_a_launcher_is_completed_without_loading_its_package(installed):
    installed("lab", "[qexp.launchers]\nlab_queue = lab:WRONG\n")
    assert completed("qexp run sound --launcher lab") == ["lab_queue"]
    assert "lab" not in sys.modules


@pytest.mark.heavy
def test_the_example_package_is_installed_and_used(tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(
        subprocess.run(
            [python, "-c", where], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    # those of this Python
    (site / "dependencies.pth").write_text(f"{ROOT}\n{sysconfig.get_paths()['purelib']}\n")
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", EXAMPLE], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"pip installs no package here: {done.stderr.strip().splitlines()[-1]}")

    def said(*words: str | Path) -> str:
        done = subprocess.run(
            [python, "-m", *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said("pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")
    said("qexp", "init", ".")
    experience = tmp_path / "specs/experiences/mogi_quick.json"
    experience.write_text(
        json.dumps({**json.loads(experience.read_text()), **SMALLER["mogi_quick"]})
    )
    shutil.copy(EXAMPLE / "data/line.lev", tmp_path)
    answers = [said(*shlex.split(line)) for line in only_shown("docs/how-to/packages.md")]
    assert ["Okada 1985" in answers[0], "8 points" in answers[2], "point_sill" in answers[3]] == [
        True
    ] * 3
    (environment,) = tmp_path.glob("runs/mogi_quick_*/environment.json")
    assert json.loads(environment.read_text())["packages"]["qexp-levelling"] == "0.1.0"

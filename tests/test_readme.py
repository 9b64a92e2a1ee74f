"""Every command and every script of the README works, in the order in which a reader would try them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import call

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

SMALLER: dict[str, dict[str, object]] = {
    "mogi_quick": {"epochs": 2, "sizes": [64, 32, 32]},
    "lunar_tio2": {"epochs": 2, "members": 2, "select": {"epochs": [1, 2]}, "baselines": ["mean"]},
    "ice_cnn": {"epochs": 1, "patches": [64, 16]},
    "msm_small": {"epochs": 1},
    "toc_finetune": {"epochs": 1, "baselines": ["mean"]},
    "toc_scratch": {"epochs": 1, "baselines": ["mean"]},
}
"""What is changed in the experiences of the reader's workspace: what is tested is the commands, not the results."""

FEWER = {
    "--glaciers 12": "--glaciers 4 --size 40 --frames 3",
    "--seeds 0:2 --grid": "--seeds 0:1 --grid",
    "--cores 30": "--cores 8 --spectra 20 --labelled 20",
    "labelled=10,50,100,400,500,all": "labelled=10,all",
    "--seeds 0:5 --set baselines": "--seeds 0:1 --set baselines",
    "=0.015625,0.125,0.5": "=0.5",
    "--seeds 0:5 --set labelled": "--seeds 1:2 --set labelled",
}
"""What no spec says is changed in the commands themselves."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [
        line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")
    ]


def make_smaller(workspace: Path) -> None:
    for name, changes in SMALLER.items():
        path = workspace / "specs" / "experiences" / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def smaller(command: str) -> str:
    for as_written, shorter in FEWER.items():
        command = command.replace(as_written, shorter)
    return command


@pytest.fixture
def shell(tmp_path):
    """Run lines one after another, each where the one before it left off; the README's `cd` counts.

    A command of qexp has a process of its own when it is named first; later ones need not wait for torch again.
    """
    here, known = [tmp_path], set()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("QEXP_WORKSPACE", None)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        if line.startswith("cd "):
            here[0] = here[0] / line.removeprefix("cd ")
            make_smaller(here[0])
            return subprocess.CompletedProcess(line, 0, "", "")
        program, command, *_ = words = shlex.split(line)
        if program == "qexp" and command in known and ">" not in words:
            with contextlib.chdir(here[0]):
                return subprocess.CompletedProcess(line, *call(*words[1:]))
        known.add(command)
        return subprocess.run(
            line, shell=True, cwd=here[0], env=environment, capture_output=True, text=True, check=False
        )

    run.here = lambda: here[0]
    return run


@pytest.mark.slow
def test_every_command_and_script_works_in_the_order_of_the_page(shell):
    steps = re.findall(r"^```(console|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(steps) >= 6
    for kind, block in steps:
        if kind == "python":
            if block.startswith("# specs/extensions.py"):
                (shell.here() / "specs/extensions.py").write_text(block)
                continue
            (shell.here() / "script.py").write_text(block)
            done = shell(f"{sys.executable} script.py")
            assert done.returncode == 0, f"{block}\n{done.stderr}"
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                done = shell(smaller(line.removeprefix("$ ")))
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_all_that_the_commands_train_is_made_smaller_here():
    trained = [shlex.split(line)[2:] for line in commands() if line.startswith(("qexp run", "qexp study"))]
    named = {Path(word).stem for words in trained for word in itertools.takewhile(lambda word: word[0] != "-", words)}
    assert named <= SMALLER.keys()
    assert all(any(as_written in line for line in commands()) for as_written in FEWER)


def test_every_make_target_is_there():
    targets = set(re.findall(r"`?make (\w+)`?", README))
    assert {"demo", "test", "quick", "bench", "format"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_every_file_that_is_named_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`(specs/\w+/\w+\.json)`", README):
        assert (ROOT / path).exists(), path


def test_the_benchmarks_that_are_named_can_be_called():
    for module in set(re.findall(r"python -m (benchmarks[.\w]*)", README)):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists() or (ROOT / module / "__main__.py").exists()

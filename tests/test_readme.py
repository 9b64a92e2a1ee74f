"""Every command and every script of the README works, in the order in which a reader would try them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

LONG = {"mogi_cnn", "mogi_noisy", "mogi_standard", "mogi_two_views"}
"""Experiences that are cut to an epoch here: what is tested is the command, not the result."""

OF_ROWS = {"lunar_tio2"}
BRIEFLY = """ --set epochs=2 --set members=2 --set select={} --set 'baselines=["mean"]'"""
"""The same for those whose folds are many."""

OF_SPECTRA = {"msm_small": "", "toc_finetune": """ --set 'baselines=["mean"]'"""}

PRETRAIN_BRIEFLY = " --pretrain-set epochs=1"

OF_FIELDS = {"ice_cnn"}
SMALL = " --set epochs=2 --set patches=[64,16]"

SHORT = " --set epochs=1 --set sizes=[64,32,32] --set batch_size=16"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [
        line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")
    ]


def shortened(command: str) -> str:
    """Only the first run of the page is trained to its end; sweeps are short, and named in a script as they are."""
    words = shlex.split(command)
    changed = "--set" in words and "--seeds" not in words
    if words[:2] == ["qexp", "run"] and words[2] in OF_ROWS:
        return command + BRIEFLY
    if words[:2] == ["qexp", "run"] and words[2] in OF_SPECTRA:
        return f"{command} --set epochs=1{OF_SPECTRA[words[2]]}"
    if words[:2] == ["qexp", "study"]:
        fewer = command.replace("10,50,100,400,500,all", "10,20").replace("0.015625,0.125,0.5", "0.5")
        return fewer.replace("0:5", "0:2") + " --set epochs=1" + PRETRAIN_BRIEFLY
    if words[:2] == ["qexp", "run"] and words[2] in OF_FIELDS:
        return command + SMALL
    return command + SHORT if words[:2] == ["qexp", "run"] and (Path(words[2]).stem in LONG or changed) else command


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Run lines one after another, each where the one before it left off; the README's `cd` counts."""
    here = [tmp_path_factory.mktemp("reader")]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("QEXP_WORKSPACE", None)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        if line.startswith("cd "):
            here[0] = here[0] / line.removeprefix("cd ")
            return subprocess.CompletedProcess(line, 0, "", "")
        return subprocess.run(
            line, shell=True, cwd=here[0], env=environment, capture_output=True, text=True, check=False
        )

    run.here = lambda: here[0]
    return run


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
                done = shell(shortened(line.removeprefix("$ ")))
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_make_target_is_there():
    targets = set(re.findall(r"`?make (\w+)`?", README))
    assert {"demo", "test", "bench", "format"} <= targets
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

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

import numpy as np
import pytest
import torch

from tests.conftest import call
from tests.foreign_networks import OneDCNN, published_vdi_weights, write_h5

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

SMALLER: dict[str, dict[str, object]] = {
    "mogi_quick": {"epochs": 2, "sizes": [64, 32, 32]},
    "lunar_tio2": {"epochs": 2, "members": 2, "select": {"epochs": [1, 2]}, "baselines": ["mean"]},
    "ice_cnn": {"epochs": 1, "patches": [64, 16]},
    "msm_small": {"epochs": 1},
    "toc_finetune": {"epochs": 1, "baselines": ["mean"]},
    "toc_scratch": {"epochs": 1, "baselines": ["mean"]},
    "half_width": {},
    "campi_flegrei": {"epochs": 1, "sizes": [128, 32, 32]},
}
"""What is changed in the experiences of the reader's workspace: what is tested is the commands, not the results."""

FEWER = {
    "--glaciers 12": "--glaciers 4 --size 40 --frames 3",
    "--seeds 0:2 --grid": "--seeds 0:1 --grid",
    "seeds=range(2)": "seeds=range(1)",
    "--cores 30": "--cores 8 --spectra 20 --labelled 20",
    "labelled=10,50,100,400,500,all": "labelled=10",
    "--seeds 0:5 --set baselines": "--seeds 0:1 --set baselines",
    "=0.015625,0.125,0.5": "=0.5",
    "--seeds 0:5 --set labelled": "--seeds 1:2 --set labelled",
}
"""What no spec says is changed in the commands and scripts themselves."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [
        line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")
    ]


def make_smaller(workspace: Path) -> None:
    for name, changes in SMALLER.items():
        path = workspace / "specs" / "experiences" / f"{name}.json"
        if path.exists():  # not in a workspace that `qexp init --bare` made
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def smaller(command: str) -> str:
    for as_written, shorter in FEWER.items():
        command = command.replace(as_written, shorter)
    return command


FIRST = "In two minutes"
"""The section whose commands have a shell each, as a newcomer's have; later ones need one for `>` alone."""

WITH_FILES = "Many runs"
"""The section whose reader has weights of other programs."""

BY_THEMSELVES = [
    "Fields on a grid",
    "Spectra of cores",
    "Programs of others",
    "Observed deformation",
    "Your own physics",
]
"""Sections, by how their titles begin, that a reader can try in a new workspace; the rest of the page is one walk."""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Title of a section → its commands and scripts: (console or python, text)."""
    titled = [section.partition("\n") for section in re.split(r"^## ", README, flags=re.MULTILINE)]
    fenced = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return {title: fenced.findall(text) for title, _, text in titled}


def walks() -> dict[str, list[str]]:
    """Name of a walk → titles of its sections in order."""
    titles = list(sections())
    alone = {start: [title for title in titles if title.startswith(start)] for start in BY_THEMSELVES}
    return {"the page": [title for title in titles if not title.startswith(tuple(BY_THEMSELVES))], **alone}


class Reader:
    """Runs lines one after another, each where the one before it left off; the README's `cd` counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self.environment.pop("QEXP_WORKSPACE", None)

    def try_section(self, title: str) -> None:
        for kind, block in sections()[title]:
            if kind == "console":
                for line in block.splitlines():
                    if line.startswith("$ "):
                        self.command(smaller(line.removeprefix("$ ")), in_shell=title == FIRST)
            elif block.startswith("# specs/extensions.py"):
                (self.folder / "specs/extensions.py").write_text(block)
            else:
                (self.folder / "script.py").write_text(smaller(block))
                self.in_shell(f"{sys.executable} script.py")

    def command(self, line: str, in_shell: bool = False) -> None:
        words = [] if "<<" in line else shlex.split(line)
        program = words.pop(0) if words else ""
        if program == "cd":
            self.folder /= words[0]
            make_smaller(self.folder)
        elif in_shell or program != "qexp" or not {">", "|"}.isdisjoint(words):
            self.in_shell(line)
        else:
            with contextlib.chdir(self.folder):
                code, stdout, stderr = call(*words)
            assert code == 0, f"{line}\n{stdout}\n{stderr}"

    def in_shell(self, line: str) -> None:
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def put_weights(folder: Path) -> None:
    """Write files of weights as VDI and DL-IM do."""
    write_h5(folder / "best.h5", published_vdi_weights(np.random.default_rng(0)))
    torch.save({"state_dict": OneDCNN().state_dict(), "epoch": 1}, folder / "model_best.pth")


@pytest.mark.slow
@pytest.mark.parametrize("walk", walks())
def test_every_command_and_script_works_in_the_order_of_the_page(walk, tmp_path, drawn):
    reader = Reader(tmp_path)
    if walk in BY_THEMSELVES:
        for line in commands()[:2]:
            reader.command(line)
    for title in walks()[walk]:
        if title == WITH_FILES:
            put_weights(reader.folder)
        reader.try_section(title)


def test_no_command_is_left_out_and_none_is_tried_twice():
    assert [line.split()[:2] for line in commands()[:2]] == [["qexp", "init"], ["cd", "my-volcano"]]
    assert all(len(titles) == 1 for walk, titles in walks().items() if walk in BY_THEMSELVES)
    assert sorted(itertools.chain.from_iterable(walks().values())) == sorted(sections())
    tried = itertools.chain.from_iterable(sections().values())
    assert sum(block.count("$ ") for kind, block in tried if kind == "console") >= len(commands()) > 40


def test_all_that_the_commands_train_is_made_smaller_here():
    trained = [shlex.split(line)[2:] for line in commands() if line.startswith(("qexp run", "qexp study"))]
    named = {Path(word).stem for words in trained for word in itertools.takewhile(lambda word: word[0] != "-", words)}
    assert named <= SMALLER.keys()
    assert all(as_written in "".join(blocks("console") + blocks("python")) for as_written in FEWER)


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

"""A reader who tries every command and every script of a page, in its order."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tests.conftest import call
from tests.foreign_networks import OneDCNN, published_vdi_weights, write_h5

ROOT = Path(__file__).parents[2]

WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in WRITTEN
    if {"design", "reference", "project"}.isdisjoint(page.relative_to(ROOT).parts)
}
"""Path → text of the pages for readers; design notes and `project` tell of the past, the reference
comes from code.
"""

SMALLER: dict[str, dict[str, object]] = {
    "mogi_quick": {"epochs": 2, "sizes": [64, 32, 32]},
    "mogi_posterior": {"epochs": 1, "sizes": [64, 32, 32]},
    "lunar_tio2": {"epochs": 2, "members": 2, "select": {"epochs": [1, 2]}, "baselines": ["mean"]},
    "lunar_tio2_by_mission": {
        "epochs": 2,
        "members": 2,
        "select": {"epochs": [1, 2]},
        "baselines": ["mean"],
    },
    "ice_cnn": {"epochs": 1, "patches": [64, 16]},
    "msm_small": {"epochs": 1},
    "toc_finetune": {"epochs": 1, "baselines": ["mean"]},
    "toc_scratch": {"epochs": 1, "baselines": ["mean"]},
    "campi_flegrei": {"epochs": 1, "sizes": [128, 32, 32]},
}
"""What is changed in the experiences of the reader's workspace: what is tested is the commands, not
the results.
"""

SHORT = {
    "half_width",
    "soil",
    "elements",
    "chamber",
    "cooling",
    "sums",
    "glaciers",
    "unrest",
    "rocks",
}
"""Experiences that are quick as they are."""

FEWER = {
    "qexp run unrest": "qexp run unrest --set epochs=1 --set sizes=[128,32,32]",
    "--seeds 0:2 --grid": "--seeds 0:1 --grid",
    "seeds=range(2)": "seeds=range(1)",
    "before_chang_e_5 --seeds 0:2": "before_chang_e_5 --seeds 0:1",
    "simulations=2000": "simulations=200",
    "--cores 30": "--cores 8 --spectra 20 --labelled 20",
    "labelled=10,50,100,400,500,all": "labelled=10",
    "--seeds 0:5 --set baselines": "--seeds 0:1 --set baselines",
    "=0.015625,0.125,0.5": "=0.5",
    "--seeds 0:5 --set labelled": "--seeds 1:2 --set labelled",
    "depth=0.5:2:3 --axis delta_volume=0.5:4:3 --repeats 16": (
        "depth=0.5:2:1 --axis delta_volume=0.5:4:2 --repeats 2"
    ),
    "limit mogi_noisy": "limit mogi_noisy --samples 4",
    "calibrate mogi_posterior_1": "calibrate mogi_posterior_1 --draws 50 --observations 100",
    "--observations 200 --exact 20": "--observations 20 --exact 1",
    "calibrate 'mogi_posterior_*' --observations 200": (
        "calibrate 'mogi_posterior_*' --draws 50 --observations 40"
    ),
}
"""What no spec says is changed in the commands and scripts themselves."""

NEWCOMER = "README.md"
"""The page whose first commands have a shell each, as a newcomer's have; others need one for `>`
and `|` alone.
"""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tried(page: str) -> list[tuple[str, str]]:
    """The commands and scripts of a page in their order: (console, sh or python, text)."""
    parts: list[tuple[str, str]] = []
    for kind, block in BLOCK.findall(PAGES[page]):
        if kind == "python":
            parts.append((kind, block))
        elif kind in ("console", "sh"):
            prompted = (
                line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")
            )
            parts += [
                (kind, line) for line in (prompted if kind == "console" else statements(block))
            ]
    return parts


def only_shown(page: str) -> list[str]:
    """The commands in blocks of a page that `tried` leaves out."""
    blocks = [
        block
        for kind, block in BLOCK.findall(PAGES[page])
        if kind == "text" and re.search(r"^qexp ", block, re.M)
    ]
    return [line for block in blocks for line in statements(block)]


def statements(block: str) -> Iterator[str]:
    """Lines, with those that continue them and the files that are written in place."""
    lines = iter(block.replace("\\\n", "").splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        written = [line]
        if end := re.search(r"<<\s*'?(\w+)'?", line):
            while written[-1] != end[1]:
                written.append(next(lines))
        yield "\n".join(written)


def make_smaller(workspace: Path) -> None:
    for name, changes in SMALLER.items():
        path = workspace / "specs" / "experiences" / f"{name}.json"
        if path.exists():  # not in a workspace that `qexp init --kind bare` made
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def smaller(command: str) -> str:
    for as_written, shorter in FEWER.items():
        if as_written in command:
            added = (
                shorter.removeprefix(as_written).split() if shorter.startswith(as_written) else []
            )
            for option in added[::2]:  # for which a page may give another value
                command = re.sub(rf" {re.escape(option)} \S+", "", command)
            command = command.replace(as_written, shorter)
    return command


def put_weights(folder: Path) -> None:
    """Write files of weights as VDI and DL-IM do."""
    write_h5(folder / "best.h5", published_vdi_weights(np.random.default_rng(0)))
    torch.save({"state_dict": OneDCNN().state_dict(), "epoch": 1}, folder / "model_best.pth")


def put_spectra(folder: Path) -> None:
    """Simulate cores, as the tutorial does."""
    with contextlib.chdir(folder):
        call(
            "data",
            "xrf",
            "--cores",
            "8",
            "--spectra",
            "20",
            "--labelled",
            "20",
            "--out",
            "data/xrf",
        ).done()


def put_events(folder: Path) -> None:
    """Write event files as TensorBoard's users have them."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "logs" / "first")) as writer:
        for step in range(3):
            writer.add_scalar("val/loss", 1 / (1 + step), step)


def put_time_series(folder: Path) -> None:
    """Write a time series as MintPy does, of a source that grows."""
    from tests.observations.test_grids import LOS, masked, mintpy_file, mintpy_geometry

    random, volumes = np.random.default_rng(0), [0, 0.5, 1.5, 3]
    steps = np.stack(
        [masked(volume * LOS + random.normal(0, 0.002, LOS.shape)) for volume in volumes]
    )
    days = np.array([b"20200101", b"20200301", b"20200501", b"20200701"])
    mintpy_geometry(folder)
    mintpy_file(folder / "timeseries.h5", "timeseries", "m", timeseries=steps, date=days)


def put_mintpy(folder: Path) -> None:
    """Write what MintPy leaves: a velocity and a time series, their geometry and their
    coherence.
    """
    from tests.observations.test_grids import SEEN, mintpy_file, mintpy_velocity

    put_time_series(folder)
    mintpy_velocity(folder)
    coherence = np.where(SEEN, 0.9, 0.5).astype(np.float32)
    mintpy_file(
        folder / "temporalCoherence.h5", "temporalCoherence", "1", temporalCoherence=coherence
    )


BEFORE = {
    "docs/coming-from/mintpy-gbis.md": put_mintpy,
    "docs/how-to/time-series.md": put_time_series,
    "docs/how-to/weights-from-elsewhere.md": put_weights,
    "docs/how-to/pretraining.md": put_spectra,
    "docs/how-to/import-runs.md": put_events,
}
"""Page → what its reader has already."""


class Reader:
    """Runs lines one after another, each where the one before it left off; a page's `cd` counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.environment.pop("QEXP_WORKSPACE", None)

    def read(self, page: str) -> None:
        """Try a page: in a new workspace, unless it makes one itself."""
        if not tried(page)[0][1].startswith("qexp init"):
            assert call("init", str(self.folder)).code == 0
            make_smaller(self.folder)
        BEFORE.get(page, lambda folder: None)(self.folder)
        self.go_on(page, shells=6 if page == NEWCOMER else 0)

    def go_on(self, page: str, shells: int = 0) -> None:
        """Try a page in the workspace as it is now."""
        for number, (kind, text) in enumerate(tried(page)):
            if kind == "python":
                self.script(text)
            else:
                self.command(smaller(text), in_shell=number < shells)

    def script(self, block: str) -> None:
        """Run a script; a file of the workspace, which its first line names, is kept."""
        if block.startswith("# specs/extensions.py\n"):
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
            line,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

"""The rule file of the how-to, run by Snakemake itself."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, call
from tests.documents.reader import SMALLER

PAGE = ROOT / "docs/how-to/pipelines.md"


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program: that of this machine, or one that is installed for this test."""
    if found := shutil.which("snakemake"):
        return found
    environment = tmp_path_factory.mktemp("snakemake")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = [environment / "bin/pip", "install", "-q", "--no-compile", "snakemake"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install Snakemake: {done.stderr.strip().splitlines()[-1]}")
    return str(environment / "bin/snakemake")


@pytest.mark.heavy
def test_stages_are_done_once_and_those_after_a_change_again(snakemake, tmp_path):
    call("init", tmp_path / "w").done()
    root = tmp_path / "w"
    (root / "Snakefile").write_text(
        re.findall(r"```text\n(rule all:.*?)```", PAGE.read_text(), re.DOTALL)[0]
    )
    (tmp_path / "bin").mkdir()
    for name, words in {"qexp": "-m qexp", "python": ""}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    paths = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }

    def change(**keys: object) -> None:
        file = root / "specs/experiences/mogi_quick.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))

    def make(target: str = "all") -> list[str]:
        """The rules that were carried out for one."""
        done = subprocess.run(
            [snakemake, "--cores", "1", "--nocolor", target],
            capture_output=True,
            text=True,
            check=False,
            cwd=root,
            env={**os.environ, **paths},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"^(?:local)?rule (\w+):", done.stderr + done.stdout, re.MULTILINE)

    def stages() -> dict[str, str]:
        return {
            name: (root / "stages" / name).read_text().strip() for name in ("pretrained", "tuned")
        }

    def written() -> dict[str, int]:
        """Run → when its weights were written."""
        return {
            file.parts[-3]: file.stat().st_mtime_ns
            for file in root.glob("runs/*/checkpoints/best.safetensors")
        }

    change(**SMALLER["mogi_quick"])
    assert {*make()} == {
        "all",
        "simulate",
        "pretrain",
        "fine_tune",
        "estimate",
        "evaluate",
        "matrix",
        "report",
    }
    first = stages()
    assert written().keys() == {*first.values()}
    assert (root / "stages/report.html").stat().st_size > 10_000
    assert make() == []
    before = written()
    change(description="The same in other words.")
    assert make("fine_tune") == ["pretrain", "fine_tune"]
    assert stages() == first
    assert written() == before, "a description is no part of the digest"
    change(learning_rate=0.001)
    assert make("fine_tune") == ["pretrain", "fine_tune"]
    assert not {*stages().values()} & {*first.values()}
    assert written().items() > before.items()

"""Reference of the environment variables that qexp reads and sets. One that is not described is an
error.
"""

from __future__ import annotations

import re
from pathlib import Path

import qexp
from _generate.markdown import code, table

READ = {
    "QEXP_WORKSPACE": "The workspace, if it is not searched upwards from the current directory.",
    "QEXP_DATA": (
        "Folders, separated by colons, that are searched for data after the workspace's own"
        " `data/`."
    ),
    "QEXP_CACHE": (
        "The folder for arrays that are prepared once from large data; `~/.cache/qexp` if it is not"
        " set."
    ),
    "QEXP_CACHE_CHECK": (
        "Any value: these arrays are compared with their hashes before use, as `qexp verify` does."
    ),
    "QEXP_GRAPHS": (
        "`0`: on a GPU, operations of a training step are launched one by one, and nothing is"
        " compiled."
    ),
    "QEXP_FIGURES": "`no`: runs and matrices draw no figures; `qexp figures` draws them later.",
    "QEXP_TOKEN": "The token that `qexp serve` asks for, if it is not to make one.",
    "NO_COLOR": "Any value: no colours.",
}

GIVEN = {
    "QEXP_RUN": "Folder of the run, for programs and actions.",
    "QEXP_SEED": "Seed of the run, for programs.",
    "QEXP_PARAMETERS": "JSON file with the parameters of the run, for programs.",
    "QEXP_RESULTS": "Where a program writes its results.",
    "QEXP_ACTION_DIR": "Where an action writes its output.",
}

INTERNAL = {
    "QEXP_COMPLETE",
    "QEXP_GRIDENGINE_CLUSTER",
    "QEXP_HTCONDOR_ARRAY",
    "QEXP_HTCONDOR_CLUSTER",
    "QEXP_HTCONDOR_TASK",
}
"""What the shell's completion sets, as `_QEXP_COMPLETE`, and the jobs of Grid Engine and
HTCondor.
"""


def page() -> str:
    used = {
        name
        for file in Path(qexp.__file__).parent.rglob("*.py")
        for name in re.findall(r"\bQEXP_[A-Z]+(?:_[A-Z]+)*\b", file.read_text(encoding="utf-8"))
    }
    if missing := sorted(used - READ.keys() - GIVEN.keys() - INTERNAL):
        raise LookupError(f"environment variables that are not described: {', '.join(missing)}")
    return "\n\n".join([
        "# Environment variables", "## That qexp reads", _rows(READ),
        "## That qexp sets for programs and actions", _rows(GIVEN),
    ]) + "\n"  # fmt: skip


def _rows(described: dict[str, str]) -> str:
    return table(["variable", "meaning"], [[code(name), text] for name, text in described.items()])

"""Which heavy tests continuous integration runs: those of the rooms that a change touches, and a
third of the others.

`pytest -m "heavy or cluster" --of-change COMMIT` runs what is chosen for the change since that
commit, and says how to run the same again. `make test-all` runs all of them.
"""

import ast
import subprocess
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tests.conftest import ROOT
from tests.source import MODULES, imports_in, imports_of

TURNS = 3
"""Commits by which, on the average, each test that is not touched is run once."""

ROOMS_OF = {
    "slurm": {"jobs"},
    "gridengine": {"jobs"},
    "htcondor": {"jobs"},
    "lunar": {"kinds"},
    "npm": {"web"},
    "documents": {"docs", "api", "cli"},
}
"""Folder of tests → the rooms that they are about, where it is not named after its room."""

OF_ALL = {"pyproject.toml", "constraints.txt", "tests/conftest.py"}
"""Files that touch every test."""


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Choice:
    """The heavy tests of a change.

    changed  files that differ, by their paths in the repository
    commit   in hexadecimal, by which the others take turns
    """

    changed: frozenset[str]
    commit: str

    @classmethod
    def since(cls, base: str) -> "Choice":
        """Of the difference between a commit and what lies in the working tree."""
        return cls(
            frozenset(_git("diff", "--name-only", base).splitlines()), _git("rev-parse", "HEAD")
        )

    @cached_property
    def modules(self) -> frozenset[str]:
        """The modules that changed, and those that import one of them."""
        changed = {
            module
            for module, path in MODULES.items()
            if str(path.relative_to(ROOT)) in self.changed
        }
        return frozenset(changed | {module for module in MODULES if imports_of(module) & changed})

    @cached_property
    def rooms(self) -> frozenset[str]:
        """Their rooms, and those of which another file changed, such as a style of the pages, or
        `docs`.
        """
        others = {path.removeprefix("qexp/").partition("/")[0] for path in self.changed}
        return frozenset({module.partition(".")[0] for module in self.modules} | others)

    @property
    def turn(self) -> int:
        return int(self.commit[:8], 16) % TURNS

    def touches(self, file: str) -> bool:
        """Whether the change touches a file of tests."""
        folder = Path(file).parent
        beside = {
            path
            for path in self.changed
            if Path(path).parent == folder and not Path(path).name.startswith("test_")
        }
        if file in self.changed or self.changed & OF_ALL or (beside and folder != Path("tests")):
            return True
        if folder == Path("tests"):
            return bool(imported_by(file) & self.modules)
        room = folder.parts[1]
        return bool(ROOMS_OF.get(room, {room}) & self.rooms)

    def takes(self, file: str) -> bool:
        """Whether a file of tests is run."""
        return self.touches(file) or zlib.crc32(file.encode()) % TURNS == self.turn

    def words(self, files: Iterable[str]) -> list[str]:
        """What was chosen among the files of tests."""
        taken = {file for file in files if self.takes(file)}
        touched = sorted(file for file in taken if self.touches(file))
        return [
            f"rooms that the change touches: {', '.join(sorted(self.rooms & rooms())) or 'none'}",
            (
                f"files of tests: {len(touched)} of these, {len(taken) - len(touched)} of the"
                f" others in turn {self.turn}"
            ),
        ]


@cache
def imported_by(file: str) -> Collection[str]:
    """The modules that a file of tests imports."""
    return imports_in(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))


def rooms() -> set[str]:
    return {module.partition(".")[0] for module in MODULES} | {"docs"}


def all_files() -> list[str]:
    """The files of tests."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))

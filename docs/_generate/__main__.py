"""Write the pages that are made from the code: `make reference`."""

from __future__ import annotations

from pathlib import Path

from _generate import reference

reference.write(Path(__file__).parents[1])

"""What takes a while to find: found once however many clients ask, and again only when that is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Kept(Generic[Found]):
    def __init__(self, find: Callable[[], Found], *, share: float = 1.0, seconds: float = 0.0) -> None:
        """`find` is called in another thread.

        share    largest share of its time that the server spends on finding this
        seconds  least time between two searches
        """
        self._find, self._share, self._seconds = find, share, seconds
        self._found: Found | None = None
        self._due = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def now(self) -> Found:
        if (found := self._fresh()) is not None:
            return found
        async with self._one_at_a_time:
            if (found := self._fresh()) is not None:  # somebody else has waited for it
                return found
            begun = time.monotonic()
            self._found = found = await asyncio.to_thread(self._find)
            now = time.monotonic()
            self._due = now + max(self._seconds, (now - begun) / self._share)
            return found

    def forget(self) -> None:
        """Search again for the next client."""
        self._found = None

    def _fresh(self) -> Found | None:
        return self._found if time.monotonic() < self._due else None

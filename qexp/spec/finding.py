"""A problem at a place in a document."""

from __future__ import annotations

Where = tuple[str | int, ...]
"""Keys and indices from the top of a document."""

Finding = tuple[Where, str]
"""Where in the document, and what the problem is."""

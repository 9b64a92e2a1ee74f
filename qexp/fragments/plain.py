"""Texts of others, such as records, specs and logs, made harmless for a terminal."""

from __future__ import annotations

import unicodedata


def cleaned(text: str) -> str:
    r"""A text whose control characters, which would act on a terminal, are written as escapes: \x1b, \u202e.

    Lines and tabs stay.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(letter if letter in "\n\t" or letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) == "Zs":  # a space of some width
        return letter
    return letter.encode("unicode_escape").decode()


def in_one_line(text: str) -> str:
    return cleaned(text.translate(_SPACES))


_SPACES = str.maketrans(dict.fromkeys("\n\t\r\v\f", " "))

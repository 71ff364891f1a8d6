"""What a move has to tell: each record that was left out, and each that was mended on the way, with the rule that says so."""

from __future__ import annotations

from typing import Any

import msgspec

from api.adopt.hiding import covered, covered_addresses


class Finding(msgspec.Struct, frozen=True):
    """A record by its key at the source (`media/<slug>`, `loop/<slug>`, `active`, a file's path …), the rule applied, and why, as a sentence."""

    key: str
    rule: str
    why: str


class Findings:
    """Collects findings while a source is read. `repeated` counts records that the source itself has more than once."""

    def __init__(self) -> None:
        self.skipped: list[Finding] = []
        self.warnings: list[Finding] = []
        self.repeated = 0

    def skip(self, key: str, rule: str, why: str) -> None:
        """This record is left out."""
        self.skipped.append(_finding(key, rule, why))

    def warn(self, key: str, rule: str, why: str) -> None:
        """This record is kept, but not as it was found."""
        self.warnings.append(_finding(key, rule, why))


def _finding(key: str, rule: str, why: str) -> Finding:
    return Finding(covered_addresses(shown(key)), rule, covered(shown(why)))  # a key says which record it is


def shown(text: str) -> str:
    """A text that can be written as UTF-8: a lone surrogate becomes a mark."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def kind_of(value: Any) -> str:
    """What a JSON value is, in a sentence."""
    for type, name in (
        (dict, "an object"),
        (list, "a list"),
        (str, "a text"),
        (bool, "true or false"),
        ((int, float), "a number"),
    ):
        if isinstance(value, type):
            return name
    return "null" if value is None else "something else"


def quoted(value: Any) -> str:
    """A value in a sentence, without the secrets in it, cut short."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = covered(repr(value))
    return text if len(text) <= 80 else f"{text[:79]}…"

"""Which series a person means: ``NAME{label="value", ..}`` as PromQL writes it, with places for the version.

Only that much of PromQL is read.  meshctl follows every series by itself, so it needs no functions, and it can see what
a selector may reach.  Text is put into the *values* of labels after reading, and quoted again when it is asked for, so
nothing that a version is called gets out of its quotes.
https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

PLACES = ("version", "subset", "service", "namespace", "release")
"""What may stand in ``{{..}}``; ``subset`` is the version as a DNS label, ``2.1.0`` -> ``v2-1-0``."""

VERSIONED = frozenset({"version", "subset"})
"""Those that tell the versions apart; every selector needs one."""

EXAMPLE = 'orders_total{version="{{version}}"}'

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_STRING = re.compile(r'\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`)\s*')
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """``label OPERATOR value``; the operator is one of ``= != =~ !~``, the value without quotes."""

    label: str
    operator: str
    value: str

    @property
    def places(self) -> frozenset[str]:
        """What is to be put into its value."""
        return frozenset(_PLACE.findall(self.value))

    def filled(self, texts: Mapping[str, str]) -> LabelMatch:
        """With ``texts`` in their places, taken letter by letter where the value is a regular expression."""
        pattern = self.operator in ("=~", "!~")

        def text(place: re.Match[str]) -> str:
            return re.escape(texts[place[1]]) if pattern else texts[place[1]]

        return LabelMatch(self.label, self.operator, _PLACE.sub(text, self.value))


@dataclass(frozen=True, slots=True)
class SeriesText:
    """Series of one metric."""

    metric: str
    matches: tuple[LabelMatch, ...]

    @property
    def places(self) -> frozenset[str]:
        """What is to be put into it."""
        return frozenset(place for match in self.matches for place in match.places)


def read_series(text: str) -> SeriesText:
    """What a selector says.  Raises `ValueError` with words for its writer."""
    text = text.strip()
    name = _NAME.match(text)
    if name is None:
        raise ValueError(f"must begin with the name of a metric, such as {EXAMPLE}")
    rest = text[name.end() :].lstrip()
    if rest.startswith(("(", "by ", "by(", "without")):
        raise ValueError(
            f"{name[0]}() has no place here: meshctl follows every series by itself, so name the series alone, "
            f"such as {EXAMPLE}"
        )
    matches, rest = _matches(rest[1:]) if rest.startswith("{") else ((), rest)
    if rest.startswith("["):
        raise ValueError("needs no range: which samples are read is meshctl's business; end with '}'")
    if rest:
        raise ValueError(f"must be the series of one metric, such as {EXAMPLE}; found {rest[:40]!r} after them")
    return SeriesText(name[0], matches)


def _matches(rest: str) -> tuple[tuple[LabelMatch, ...], str]:
    """What stands between braces, and what follows the closing one."""
    found: list[LabelMatch] = []
    while not rest.lstrip().startswith("}"):
        label = _LABEL.match(rest)
        operator = _OPERATOR.match(rest, label.end()) if label else None
        value = _STRING.match(rest, operator.end()) if operator else None
        if label is None or operator is None or value is None:
            raise ValueError(f'is not read further than {rest[:40]!r}: there must be label="value", or =~, !=, !~')
        found.append(_match(label[1], operator[0], value[1]))
        rest = rest[value.end() :]
        if rest.startswith(","):
            rest = rest[1:]
        elif not rest.startswith("}"):
            raise ValueError(f"has no comma and no '}}' where {rest[:40]!r} begins")
    return tuple(found), rest.lstrip()[1:].lstrip()


def _match(label: str, operator: str, quoted: str) -> LabelMatch:
    if label == "__name__":
        raise ValueError("names its metric before the brace, not by __name__")
    value = quoted[1:-1] if quoted[0] == "`" else _ESCAPE.sub(_unescaped, quoted[1:-1])
    for place in _PLACE.findall(value):
        if place not in PLACES:
            close = get_close_matches(place, PLACES, n=1)
            guess = f"did you mean {{{{{close[0]}}}}}?  " if close else ""
            raise ValueError(
                f"has {{{{{place[:40]}}}}}, which stands for nothing; {guess}there are: {', '.join(PLACES)}"
            )
    if "{{" in _PLACE.sub("", value):
        raise ValueError(f"has '{{{{' without its end in the value of {label}")
    if operator in ("=~", "!~"):
        try:
            re.compile(_PLACE.sub("x", value))
        except re.error as error:
            raise ValueError(f"has no regular expression in {label}: {error}") from None
    return LabelMatch(label, operator, value)


def _unescaped(escape: re.Match[str]) -> str:
    known = _ESCAPES.get(escape[1])
    if known is None:
        raise ValueError(f"has \\{escape[1]} in a quoted value; write \\\\{escape[1]} for a backslash")
    return known

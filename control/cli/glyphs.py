"""The few signs beyond ASCII that the watch view draws with, and what stands in for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One terminal's signs. ``spark`` rises from least to most."""

    arrow: str
    then: str
    full: str
    rest: str
    dots: str
    spark: str


UNICODE = Glyphs(arrow="→", then=">", full="━", rest="─", dots="…", spark="▁▂▃▄▅▆▇█")
ASCII = Glyphs(arrow="->", then=">", full="#", rest="-", dots="~", spark="_.-~=+*#")


def for_encoding(encoding: str) -> Glyphs:
    """The signs that ``encoding`` can write."""
    return UNICODE if encoding.lower().replace("-", "").startswith("utf") else ASCII


def sparkline(values: Sequence[float], glyphs: Glyphs) -> str:
    """One sign a value, from zero to the largest; zeroes are the lowest sign."""
    most = max(values, default=0.0)
    top = len(glyphs.spark) - 1
    if most <= 0:
        return glyphs.spark[0] * len(values)
    return "".join(glyphs.spark[round(max(value, 0.0) / most * top)] for value in values)


def bar(part: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """The done and the open stretch of a bar, ``width`` signs together; full only when done."""
    done = int(min(max(part, 0.0), 1.0) * width)
    return glyphs.full * done, glyphs.rest * (width - done)


def shortened(text: str, width: int, glyphs: Glyphs) -> str:
    """``text``, its end cut off and marked when it is longer than ``width``."""
    if len(text) <= width:
        return text
    return text[: max(width - len(glyphs.dots), 0)] + glyphs.dots

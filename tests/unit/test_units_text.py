"""Sizes, durations and rates as text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from control.units_text import (
    NotADuration,
    NotARate,
    NotASize,
    Rate,
    Seconds,
    exact_duration,
    exact_rate,
    exact_size,
    human_duration,
    human_rate,
    human_size,
    parse_duration,
    parse_rate,
    parse_size,
)
from dm_tables.errors import Kind
from dm_tables.units import Bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512B", 512),
        ("1 byte", 1),
        ("10K", 10 << 10),
        ("10KiB", 10 << 10),
        ("10Ki", 10 << 10),
        ("10KB", 10_000),
        ("256MiB", 256 << 20),
        ("256 mib", 256 << 20),
        ("1.5GiB", 3 << 29),
        (".5G", 1 << 29),
        ("2TB", 2 * 10**12),
        ("1EiB", 1 << 60),
        ("0.0001KiB", 0),
    ],
)
def test_sizes_that_can_be_meant(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1MiB", "1.2.3", "5i", "5iB", "1e6", "1 Q", "0x10", "10MiB/s", "5 Mbit"]
)
def test_sizes_that_cannot(text: str) -> None:
    with pytest.raises(NotASize) as caught:
        parse_size(text)
    assert caught.value.text == text
    assert caught.value.kind is Kind.USAGE
    assert f'"{text}"' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("90", 90.0),
        ("5s", 5.0),
        ("250ms", 0.25),
        ("40us", 0.00004),
        ("40µs", 0.00004),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("2D", 172800.0),
        ("1w", 604800.0),
    ],
)
def test_durations_that_can_be_meant(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 parsecs", "5s5s", "30m1h", "1h30", "1m,2s"])
def test_durations_that_cannot(text: str) -> None:
    with pytest.raises(NotADuration) as caught:
        parse_duration(text)
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("none", 0),
        ("Unlimited", 0),
        ("0", 0),
        ("10MB/s", 10_000_000),
        ("10MiB", 10 << 20),
        ("10 MiB / s", 10 << 20),
        ("10MiB/sec", 10 << 20),
        ("10MBps", 10_000_000),
        ("100Mbit/s", 12_500_000),
        ("100Mbps", 12_500_000),
        ("1Gibit/s", 1 << 27),
        ("4096", 4096),
    ],
)
def test_rates_that_can_be_meant(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1MB/s", "10MB/m", "0.1B/s", "4bit/s", "/s"])
def test_rates_that_cannot(text: str) -> None:
    with pytest.raises(NotARate) as caught:
        parse_rate(text)
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda: exact_size(Bytes(0)), "0B"),
        (lambda: exact_size(Bytes(1000)), "1000B"),
        (lambda: exact_size(Bytes(256 << 20)), "256MiB"),
        (lambda: exact_size(Bytes(1536)), "1536B"),
        (lambda: exact_size(Bytes(3 << 29)), "1536MiB"),
        (lambda: exact_rate(Rate(0)), "none"),
        (lambda: exact_rate(Rate(10 << 20)), "10MiB/s"),
        (lambda: exact_duration(Seconds(0)), "0s"),
        (lambda: exact_duration(Seconds(5400)), "1h30m"),
        (lambda: exact_duration(Seconds(0.25)), "250ms"),
        (lambda: exact_duration(Seconds(1.000001)), "1s1us"),
    ],
)
def test_text_for_machines(write: Callable[[], str], text: str) -> None:
    assert write() == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1258291, "1.2 MiB"),
        (100 << 20, "100 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        ((1 << 30) - (1 << 18), "1.0 GiB"),
        (3 << 60, "3.0 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_for_the_eye(size: int, text: str) -> None:
    assert human_size(size) == text


def test_rates_for_the_eye() -> None:
    assert human_rate(12.5 * (1 << 20)) == "12.5 MiB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00085, "850 µs"),
        (0.0012, "1.2 ms"),
        (0.9999, "1.0 s"),
        (0.25, "250 ms"),
        (5, "5.0 s"),
        (59.96, "1m"),
        (90, "1m 30s"),
        (3599.9, "1h"),
        (5400, "1h 30m"),
        (90000, "1d 1h"),
        (864000, "10d"),
        (-5, "-5.0 s"),
    ],
)
def test_durations_for_the_eye(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text

"""What a merge plans, and what it does to spans of several kinds."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from control.limiter import Interrupted, RateLimiter
from control.merge import (
    LARGEST_WRITE,
    Fragment,
    Write,
    WrongBase,
    batches,
    merge,
    plan_reads,
    plan_writes,
    without_zeroes,
)
from control.spans import Span
from control.store.direct import DirectFile, aligned_buffer
from control.store.errors import DeviceFailed
from control.store.exceptions import Run
from control.store.reader import StoreReader
from dm_tables.units import Bytes, Chunks
from tests.store_tools import compact, filled

K4 = Bytes(4096)
SIZE = Bytes(4096 * 600 + 1536)


def run(first: int, old: int, new: int, count: int) -> Run:
    return Run(first, Chunks(old), Chunks(new), count)


def test_batches_hold_no_more_than_they_may() -> None:
    runs = [run(0, 0, 2, 3), run(3, 9, 5, 2), run(5, 4, 7, 4), run(9, 90, 11, 9)]
    assert list(batches(runs, 5)) == [runs[:2], [runs[2]], [runs[3]]]
    assert list(batches([], 5)) == []


def test_reads_are_joined_in_the_stores_order() -> None:
    batch = [run(0, 50, 2, 3), run(3, 9, 5, 2), run(5, 4, 8, 1)]
    assert [(r.new, r.count) for r in plan_reads(batch)] == [(2, 5), (8, 1)]


def test_writes_are_sorted_joined_and_clipped() -> None:
    batch = [run(0, 600, 2, 1), run(1, 5, 3, 2), run(3, 4, 5, 1), run(4, 9, 6, 1)]
    assert plan_writes(batch, K4, SIZE) == [
        Write(Bytes(4 * 4096), Bytes(3 * 4096), (Fragment(12288, 4096), Fragment(4096, 8192))),
        Write(Bytes(9 * 4096), Bytes(4096), (Fragment(16384, 4096),)),
        Write(Bytes(600 * 4096), Bytes(1536), (Fragment(0, 1536),)),
    ]


def test_no_write_is_larger_than_the_largest() -> None:
    batch = [run(i * 100, i * 100, 2 + i * 100, 100) for i in range(6)]
    writes = plan_writes(batch, K4, SIZE)
    assert [w.length for w in writes] == [200 * 4096] * 3
    assert max(w.length for w in writes) <= LARGEST_WRITE


def test_zeroes_are_cut_out_at_chunk_borders() -> None:
    buffer = aligned_buffer(4096 * 8)
    buffer[4096 : 3 * 4096] = filled(1, 8192)
    buffer[5 * 4096 + 4095] = 1
    write = Write(Bytes(81920), Bytes(6 * 4096 + 512), (Fragment(0, 16384), Fragment(20480, 8704)))
    assert without_zeroes(write, buffer, K4) == [
        Write(Bytes(81920), Bytes(4096), ()),
        Write(Bytes(86016), Bytes(8192), (Fragment(4096, 8192),)),
        Write(Bytes(94208), Bytes(4096), ()),
        Write(Bytes(98304), Bytes(4096), (Fragment(20480, 4096),)),
        Write(Bytes(102400), Bytes(4608), ()),
    ]


def three_spans(folder: Path, base: bytes) -> tuple[Span, ...]:
    """The volume laid over two files, cut inside chunks; other bytes before and behind."""
    cuts = [0, 4096 * 100 + 512, 4096 * 400 + 2560, len(base)]
    one = b"\xee" * 4096 + base[cuts[0] : cuts[1]] + b"\xee" * 3072 + base[cuts[2] :] + b"\xee" * 77
    (folder / "one").write_bytes(one)
    (folder / "two").write_bytes(b"\xdd" * 1024 + base[cuts[1] : cuts[2]])
    sizes = [b - a for a, b in pairwise(cuts)]
    return (
        Span(folder / "one", Bytes(4096), Bytes(sizes[0])),
        Span(folder / "two", Bytes(1024), Bytes(sizes[1])),
        Span(folder / "one", Bytes(4096 + sizes[0] + 3072), Bytes(sizes[2])),
    )


def content(spans: tuple[Span, ...]) -> bytes:
    return b"".join(s.path.read_bytes()[s.offset : s.offset + s.length] for s in spans)


CHANGE = [(600 - i * 7 % 601, filled(i, 4096)) for i in range(500)]


def changed(base: bytes, change: list[tuple[int, bytes]]) -> bytes:
    out = bytearray(base)
    for old, data in change:
        out[old * 4096 : old * 4096 + 4096] = data
    return bytes(out[: len(base)])


@pytest.mark.parametrize("punch", [False, True])
def test_every_chunk_reaches_its_place_over_spans_that_cut_chunks(
    tmp_path: Path, punch: bool
) -> None:
    base = filled(1000, SIZE)
    spans = three_spans(tmp_path, base)
    change = [(old, bytes(4096) if i % 5 == 0 else data) for i, (old, data) in enumerate(CHANGE)]
    outside = content_outside(tmp_path)
    path = compact(4096, change).write(tmp_path / "store")
    with StoreReader(path, SIZE) as store:
        result = merge(store, spans, limiter=RateLimiter(), punch=punch)
    assert content(spans) == changed(base, change) != base
    assert content_outside(tmp_path) == outside
    assert result.exceptions == 500
    assert result.written == 500 * 4096 - (4096 - 1536)


def content_outside(folder: Path) -> list[bytes]:
    one, two = (folder / "one").read_bytes(), (folder / "two").read_bytes()
    middle = 4096 + 4096 * 100 + 512
    return [one[:4096], one[middle : middle + 3072], one[-77:], two[:1024]]


def one_span(folder: Path, base: bytes) -> tuple[Span, ...]:
    (folder / "base").write_bytes(base)
    return (Span(folder / "base", Bytes(0), SIZE),)


def test_punching_gives_room_back_and_not_punching_keeps_it(tmp_path: Path) -> None:
    change = [(i, bytes(4096)) for i in range(500)]
    path = compact(4096, change).write(tmp_path / "store")
    used = {}
    for punch in (False, True):
        spans = one_span(tmp_path, filled(1, SIZE))
        with StoreReader(path, SIZE) as store:
            merge(store, spans, limiter=RateLimiter(), punch=punch)
        assert content(spans) == changed(filled(1, SIZE), change)
        used[punch] = (tmp_path / "base").stat().st_blocks * 512
    assert used[False] >= SIZE
    assert used[True] <= SIZE - 499 * 4096


def test_durable_counts_come_after_their_fsync_and_a_merge_starts_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.merge.BATCH", 64 * 4096)
    events: list[str | int] = []
    real = DirectFile.fsync

    def fsync(file: DirectFile) -> None:
        events.append("fsync")
        real(file)

    monkeypatch.setattr(DirectFile, "fsync", fsync)
    spans = one_span(tmp_path, filled(1, SIZE))
    path = compact(4096, CHANGE).write(tmp_path / "store")
    told: list[int] = []
    with StoreReader(path, SIZE) as store:
        merge(
            store,
            spans,
            limiter=RateLimiter(),
            sync_every=Bytes(120 * 4096),
            on_durable=events.append,
            progress=lambda exceptions, written: told.append(exceptions),
        )
    assert told == [64, 128, 192, 256, 320, 384, 448, 500]
    want: list[str | int] = []
    for count in (128, 256, 384, 500, 500):
        want += ["fsync", count]
    assert events in (want, want[:-2])
    again = one_span(tmp_path, changed(filled(1, SIZE), CHANGE[:256]))
    with StoreReader(path, SIZE) as store:
        result = merge(store, again, limiter=RateLimiter(), start=256)
    assert content(again) == changed(filled(1, SIZE), CHANGE)
    assert result.exceptions == 500
    assert result.written <= 244 * 4096


def test_a_stop_ends_it_and_what_was_durable_was_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.merge.BATCH", 64 * 4096)
    spans = one_span(tmp_path, filled(1, SIZE))
    path = compact(4096, CHANGE).write(tmp_path / "store")
    limiter, durable = RateLimiter(), [0]

    def stop(exceptions: int, _: Bytes) -> None:
        if exceptions >= 200:
            limiter.stop.set()

    with StoreReader(path, SIZE) as store, pytest.raises(Interrupted):
        merge(store, spans, limiter=limiter, progress=stop, on_durable=durable.append,
              sync_every=K4)  # fmt: skip
    assert durable[-1] == 256
    now = content(spans)
    want = changed(filled(1, SIZE), CHANGE)
    for old, _ in CHANGE[:256]:
        assert now[old * 4096 :][:4096] == want[old * 4096 :][:4096]
    assert now != want


def test_a_base_of_another_size_is_refused_untouched(tmp_path: Path) -> None:
    base = filled(1, SIZE + 512)
    spans = (Span(tmp_path / "base", Bytes(0), Bytes(SIZE + 512)),)
    (tmp_path / "base").write_bytes(base)
    path = compact(4096, CHANGE).write(tmp_path / "store")
    with StoreReader(path, SIZE) as store, pytest.raises(WrongBase, match="2459136"):
        merge(store, spans, limiter=RateLimiter())
    assert (tmp_path / "base").read_bytes() == base


def test_a_failed_write_is_not_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = one_span(tmp_path, filled(1, SIZE))
    path = compact(4096, CHANGE).write(tmp_path / "store")

    def fail(*_: object) -> int:
        raise OSError(5, "no")

    monkeypatch.setattr(os, "pwritev", fail)
    durable: list[int] = []
    with StoreReader(path, SIZE) as store, pytest.raises(DeviceFailed):
        merge(store, spans, limiter=RateLimiter(), on_durable=durable.append)
    assert durable == []


def test_an_empty_layer_merges_to_nothing(tmp_path: Path) -> None:
    spans = one_span(tmp_path, filled(1, SIZE))
    path = compact(4096, []).write(tmp_path / "store")
    with StoreReader(path, SIZE) as store:
        assert merge(store, spans, limiter=RateLimiter()).exceptions == 0
    assert content(spans) == filled(1, SIZE)

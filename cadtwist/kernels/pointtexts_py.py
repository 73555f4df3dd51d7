"""The `[value, time]` pairs of a JSON answer, made of the texts of values: the readable twin of `pointtexts.pyx`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["point_texts"]


def point_texts(
    numbers: bytes, starts: Sequence[int], steps: Sequence[int], counts: Sequence[int], known_only: bool = False
) -> list[bytes]:
    """Return for each series its `[value, time], [value, time]`: `counts[i]` values at `starts[i]` + k * `steps[i]`.

    `numbers` is a JSON array, without spaces, of the values of all series one after the other.  With `known_only`
    values that are `null` are left out.  ValueError where there are not as many values as `counts` tell.
    """
    if not len(starts) == len(steps) == len(counts):
        raise ValueError("as many starts, steps and counts are needed")
    texts = numbers[1:-1].split(b",") if len(numbers) > 2 else []
    if len(texts) != sum(counts) or min(counts, default=0) < 0:
        raise ValueError("there are not as many values as counts tell")
    found, at = [], 0
    for start, step, count in zip(starts, steps, counts, strict=True):
        times = range(start, start + step * count, step) if step else [start] * count
        pairs = zip(texts[at : at + count], times, strict=True)
        found.append(b", ".join([b"[%b, %d]" % pair for pair in pairs if not (known_only and pair[0] == b"null")]))
        at += count
    return found

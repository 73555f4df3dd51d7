"""What a row of buckets keeps of its datapoints: the words that both twins of the kernel share."""

from __future__ import annotations

__all__ = ["CELL_BYTES", "EXACT_MEMBERS", "KEPT", "LEVEL", "MEMBERS", "PLAIN", "SCALED", "SPREAD_OWN", "STAYS"]

PLAIN = 1
"""Count, sum, sum of squares, minimum, maximum, first and last; each row has them, one of kind 0 takes nothing."""

SCALED = 2
"""The sum takes each value times its weight (a sampled counter); without it weights only count (a sampled timer)."""

KEPT = 4
"""All values are kept as well: exact quantiles, up to the bound of the store, beyond which a sketch takes over."""

MEMBERS = 8
"""A value is no number but the 64-bit hash of a set's member, in the memory of a float64; they are counted apart."""

LEVEL = 16
"""A gauge: a value of weight 0 is added to the last one (0 if there is none), any other replaces it."""

STAYS = 32
"""The row has one cell that outlives its interval: the gauge that is told again and again."""

EXACT_MEMBERS = 64
"""So many members of a set are counted exactly, before registers take over (where the store has a precision)."""

CELL_BYTES = 104
"""What an open cell takes beside its values and members."""

SPREAD_OWN = 5
"""Columns of `spread` that do not belong to a threshold: deviation, sum, sum of squares, mean and median."""

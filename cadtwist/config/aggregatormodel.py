"""The aggregator's part of the Config."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["AggregatorConfig"]


class AggregatorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How carbon's aggregator runs the Config's `aggregate_rules` over what is received.

    `forward_all`: what comes in goes on as well, unless it is itself named as an output.  `max_intervals` of a metric
    are kept open.  An interval is told again every `write_back_s` while values for it come in; None = as often as the
    rule's own frequency; never less often than that.  `log_misses`: a log line per datapoint that no rule is about.
    """

    forward_all: bool = True
    max_intervals: int = 5
    write_back_s: float | None = None
    log_misses: bool = False

"""The cluster's part of the Config: which other servers are asked, and how.  Names as graphite-web has them."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["ClusterConfig"]


class ClusterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Other servers that are asked with each request (see `model.clusterserver`); none: we answer for ourselves only.

    `merge`: what several servers know of one series is put together point by point, else the fullest is taken.
    `exclude_local` leaves out what is this process itself.  `forward_headers` are passed on from each request.
    """

    servers: tuple[str, ...] = ()
    find_timeout_s: float = 3.0
    fetch_timeout_s: float = 6.0
    retry_delay_s: float = 60.0
    max_answer_bytes: int = 256 << 20
    merge: bool = True
    fail_on_error: bool = False
    use_post: bool = False
    exclude_local: bool = False
    https: bool = False
    forward_headers: tuple[str, ...] = ()

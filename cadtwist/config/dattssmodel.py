"""DaTtSs' part of the Config: keys, store, bounds, the other nodes, mails.  Units are in the names."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["DattssConfig", "DattssMailConfig", "DattssNode"]


class DattssNode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the nodes among which users are spread; they must have the same secrets."""

    host: str
    port: int = 3002

    @property
    def name(self) -> str:
        """Return what a node is called."""
        return f"{self.host}:{self.port}"


class DattssMailConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How mails are sent: alerts, and the links of those who sign up.

    `smtp_host` empty = mails are not sent, their subject is logged.  `to` gets the alerts of users without an address.
    `domain` is where the links of mails lead.
    """

    smtp_host: str = ""
    smtp_port: int = 25
    sender: str = "dattss@localhost"
    to: str = ""
    domain: str = "localhost:3002"


class DattssConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DaTtSs server; its doors are listeners of protocol `dattss` (tcp: HTTP; udp: single values).

    `secret` is DATTSS_HMAC, `first_secret` DATTSS_SECRET, with which v1 signs its keys (empty = the same).  `strict`:
    a PUT with a bad partial is refused whole.  `process_prefix`: the process of v1 is the first part of its paths.
    `known_users_only`: only who has signed up.  `node` is our own name (host:port) among the `nodes`; without nodes
    all users are ours.
    """

    secret: str = ""
    first_secret: str = ""
    directory: str = "var/dattss"
    log: bool = True
    sync_s: float = 1.0
    history_days: int = 8
    strict: bool = False
    process_prefix: bool = True
    known_users_only: bool = False
    may_sign_up: bool = False
    demo_user: str = ""
    own_user: str = ""
    max_body_bytes: int = 4 << 20
    max_users: int = 10_000
    max_statistics: int = 100_000
    max_processes: int = 1000
    alert_minutes: int = 5
    alert_between_s: float = 600.0
    max_alerts_told: int = 20
    mail: DattssMailConfig = DattssMailConfig()
    node: str = ""
    nodes: tuple[DattssNode, ...] = ()

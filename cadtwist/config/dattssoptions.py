"""The rows of the table of options that concern DaTtSs; `config.options` joins them to the others."""

from __future__ import annotations

from cadtwist.config.optionrow import GIB, PORT_MAX, Option

__all__ = ["DATTSS_OPTIONS"]

DATTSS_OPTIONS: tuple[Option, ...] = (
    Option("dattss.secret", "signs the keys of users (DATTSS_HMAC); needed"),
    Option("dattss.first_secret", "signs keys of v1, ID_SIGNATURE (DATTSS_SECRET); empty = as the others"),
    Option("dattss.directory", "folder of minutes, settings and log; one process each"),
    Option("dattss.log", "log what is put before it is answered"),
    Option("dattss.sync_s", "seconds between syncs of the log", "s", 0, 3600),
    Option("dattss.history_days", "days for which minutes are kept", "", 1, 3650),
    Option("dattss.strict", "refuse a PUT whole when one partial is bad; off: drop and count that one"),
    Option("dattss.process_prefix", "the process of v1 is the first part of its paths"),
    Option("dattss.known_users_only", "take only from users who have signed up"),
    Option("dattss.may_sign_up", "let anybody sign up"),
    Option("dattss.demo_user", "user whom /demo shows to everybody, read-only; empty = none"),
    Option("dattss.own_user", "user who gets the server's own statistics; empty = none"),
    Option("dattss.max_body_bytes", "largest body of a request", "bytes", 1024, GIB),
    Option("dattss.max_users", "users in memory", "", 1, 10_000_000),
    Option("dattss.max_statistics", "statistics of one user", "", 1, 10_000_000),
    Option("dattss.max_processes", "names of processes of one user, and requests held for one name", "", 1, 1_000_000),
    Option("dattss.alert_minutes", "minutes over which the averages of alerts go", "min", 2, 60),
    Option("dattss.alert_between_s", "least time between two mails to one user", "s", 0, 86400),
    Option("dattss.max_alerts_told", "alerts in one mail; the others are counted", "", 1, 10_000),
    Option("dattss.mail.smtp_host", "host that takes mails; empty = they are only logged"),
    Option("dattss.mail.smtp_port", "its port", "port", 1, PORT_MAX),
    Option("dattss.mail.sender", "address that mails are from"),
    Option("dattss.mail.to", "gets the alerts of users who have no address; empty = nobody"),
    Option("dattss.mail.domain", "host (and port) that the links in mails lead to"),
    Option("dattss.node", "our own name (host:port) among the nodes"),
    Option("dattss.nodes.host", "host of a node; every user belongs to one of them, by a hash ring"),
    Option("dattss.nodes.port", "its HTTP port", "port", 1, PORT_MAX),
)

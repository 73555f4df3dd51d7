"""Tests of `cadtwist.codec.dattss`."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.dattss import (
    MAX_PARTIALS,
    AuthError,
    Datagram,
    DattssKeys,
    MalformedError,
    error_body,
    read_datagrams,
    read_put,
)
from tests.model.test_partial import recording

ONE = {"typ": "c", "pth": "a.b", "pct": 0.1, "sum": 3, "cnt": 2, "max": 2, "min": 1, "fst": 1, "lst": 2, "top": 2,
       "bot": 1, "emp": True}  # fmt: skip


def body(*counters: Any, **more: Any) -> bytes:
    return json.dumps({"prt": {"c": list(counters), "g": [], "ms": []}, **more}).encode()


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = DattssKeys("secret")

    def test_recorded_hashes(self) -> None:
        vectors = recording("server_vectors")
        for text, wanted in vectors["hash"].items():
            texts = json.loads(text) if text.startswith("[") else [text]
            self.assertEqual(self.keys.hash(*texts), wanted, text)
        for text, number in vectors["slt"].items():
            self.assertEqual(self.keys.salt(text), number, text)

    def test_both_forms_of_keys(self) -> None:
        self.assertEqual(self.keys.user(self.keys.key("user1")), "user1")
        self.assertEqual(self.keys.user("user1_" + self.keys.hash("user1")), "user1")

    def test_no_key(self) -> None:
        good = self.keys.key("user1")
        for key in ("", "user1", good[:-1], good + "0", "user2" + good[5:], None, 7, good.upper(), "x" * 9999,
                    "a.b." + self.keys.hash("a.b")):  # fmt: skip
            self.assertRaises(AuthError, self.keys.user, key)


class PutTests(SynchronousTestCase):
    def test_what_the_client_sends(self) -> None:
        for request in recording("client_put")["requests"][1:]:
            put = read_put(json.dumps(request["body"]).encode())
            sent = sum(len(partials) for partials in request["body"]["prt"].values())
            self.assertEqual(sum(len(partials) for partials in put.partials.values()) + len(put.bad), sent)
            self.assertEqual([bad.excerpt for bad in put.bad], [b"bang!path"] if sent else [])

    def test_a_partial(self) -> None:
        (partial,) = read_put(body(ONE)).partials["c"]
        self.assertEqual((partial.pth, partial.sum, partial.emp, partial.pct), ("a.b", 3, True, 0.1))

    def test_the_first_generation(self) -> None:
        put = read_put(body({**ONE, "nam": "stat"}, nam="proc", upt=17))
        self.assertEqual((put.partials["c"][0].pth, put.process, put.uptime_s), ("proc.stat", "proc", 17.0))
        for wrong in ({"nam": "a b", "upt": 1}, {"nam": "a"}, {"nam": 5, "upt": 1}, {"nam": "a", "upt": True}):
            self.assertRaises(MalformedError, read_put, body(**wrong))

    def test_malformed(self) -> None:
        for text in (b"", b"{", b"[]", b"{}", b'{"prt": []}', b'{"prt": {"c": [], "g": []}}',
                     b'{"prt": {"c": {}, "g": [], "ms": []}}', b"[" * 100000, b"\xff",
                     b'{"prt": {"c": [], "g": [], "ms": []}, "nam": "\xff"}'):  # fmt: skip
            self.assertRaises(MalformedError, read_put, text)
        self.assertRaises(MalformedError, read_put, body(*[0] * (MAX_PARTIALS + 1)))

    def test_a_bad_partial_costs_only_itself(self) -> None:
        wrong = [5, {**ONE, "pth": "a b"}, {**ONE, "pth": None}, {**ONE, "sum": 10**400}, {**ONE, "cnt": -1},
                 {**ONE, "sum": -1.1e300}, {**ONE, "pct": 7}, {**ONE, "max": True},
                 {key: value for key, value in ONE.items() if key != "top"}]  # fmt: skip
        put = read_put(body(ONE, *wrong))
        self.assertEqual(len(put.partials["c"]), 1)
        self.assertEqual(
            [bad.kind for bad in put.bad], ["fields", "name", "name", *["value"] * 6]
        )
        for each in wrong:
            self.assertRaises(MalformedError, read_put, body(each), strict=True)

    def test_any_body(self) -> None:
        @settings(max_examples=200, deadline=None)
        @given(st.one_of(st.binary(max_size=40), st.text('{}[]":,prtcgms019.-', max_size=60).map(str.encode)))
        def survives(data: bytes) -> None:
            try:
                read_put(data)
            except MalformedError:
                return

        survives()

    def test_errors_as_recorded(self) -> None:
        errors = (MalformedError("Malformed request"), AuthError("Authentication Error"))
        self.assertEqual(
            [json.loads(error_body(error)) for error in errors],
            [{"error": {"name": "Error", "message": "Malformed request"}},
             {"error": {"name": "AuthenticationError", "message": "Authentication Error"}}],
        )  # fmt: skip


class DatagramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keys = DattssKeys("secret")
        self.key = "user1_" + self.keys.hash("user1")

    def test_one_or_several_lines(self) -> None:
        data = f"{self.key}:proc:stat:5c!\r\n\n{self.keys.key('u2')}:p:s:-7ms".encode()
        self.assertEqual(
            read_datagrams(data, self.keys),
            ([Datagram("user1", "proc.stat", 5, "c", True), Datagram("u2", "p.s", -7, "ms", False)], []),
        )

    def test_what_is_none(self) -> None:
        lines = ("", "a:b:c", f"{self.key}:p:s:5c:x", f"{self.key}:p:s:x", f"{self.key}::s:5c", f"{self.key}:p p:s:5c",
                 "user1_0000:p:s:5c", f"x{self.key}:p:s:5c", "\xff:p:s:1c")  # fmt: skip
        found, bad = read_datagrams("\n".join(lines).encode(), self.keys)
        self.assertEqual(found, [])
        self.assertEqual(
            [each.kind for each in bad], ["fields", "fields", "value", "name", "name", "auth", "auth", "auth"]
        )

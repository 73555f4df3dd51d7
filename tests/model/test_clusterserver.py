"""Servers of a cluster, as they are written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.clusterserver import Server, parse_server


class ServerTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, https, expected in (
            ("h:8080", False, Server("h:8080", "http://h:8080", "h", 8080)),
            ("h", True, Server("h", "https://h", "h", 443)),
            ("h:81/g/?format=pickle&noTags=1", True, Server("h:81/g", "https://h:81/g", "h", 81, "pickle", "1", False)),
            ("http://[::1]?local=0&noTags=0", True, Server("[::1]", "http://[::1]", "::1", 80, "", "0", True)),
        ):
            self.assertEqual(parse_server(text, https), expected)

    def test_refusals(self) -> None:
        for text, why in (
            ("", "host:port or a URL is expected"),
            ("http://user:secret@", "host:port or a URL is expected"),
            ("h/\xfc", "host:port or a URL is expected"),
            ("h 1", "host:port or a URL is expected"),
            ("h:99999", "ort out of range"),
            ("h?color=red", "color is unknown; known are format, local, noTags"),
            ("h?format=json", "the format is one of pickle, msgpack, carbonapi_v3_pb"),
        ):
            error = self.assertRaises(ValueError, parse_server, text)
            self.assertIn(why, str(error))
            self.assertNotIn("secret", str(error))

    def test_who_asks(self) -> None:
        """Secrets stand nowhere but in the header."""
        for text, told in (
            ("http://al%40x:secret@h:1/g", "Basic YWxAeDpzZWNyZXQ="),
            ("http://:secret@h:1/g", "Bearer secret"),
        ):
            server = parse_server(text)
            self.assertEqual((server.name, server.url, server.authorization), ("h:1/g", "http://h:1/g", told))
        error = self.assertRaises(ValueError, parse_server, "http://al:secret@h?x=1")
        self.assertNotIn("secret", str(error))

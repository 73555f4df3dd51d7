"""Fields of requests: query and body merged, forms of both kinds."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.tagdb import multipart
from cadtwist.web.errors import RefusedError
from cadtwist.web.params import MAX_FIELDS, parse_params

HEAD = b'Content-Disposition: form-data; name="p"'
FORM = "application/x-www-form-urlencoded"
PIECES = [b"a", b"&", b"=", b"+", b"%", b"%2a", b"%C3", b"%bc", b"%26", b"\xc3\xbc", b"\xff"]


class ParamTests(SynchronousTestCase):
    def test_the_body_comes_behind_the_query(self):
        params = parse_params(b"target=a&format=raw", b"target=b&format=json", FORM + "; charset=utf-8", None)
        self.assertEqual((params.all("target"), params.last("format")), (["a", "b"], "json"))
        self.assertEqual(parse_params(b"", b"target=b", "text/plain", None).all("target"), [])

    def test_multipart(self):
        """Carbon tells tagged series in this form."""
        paths = ["a;b=1", "ü.é;c=2", "--x", "two\r\nlines"]
        for boundary in ("XyZ", "a-b'c"):
            body = multipart(paths, boundary)
            for kind in ("multipart/form-data; boundary=%s", "Multipart/Form-Data; x=y; boundary=\"%s\""):
                self.assertEqual(parse_params(b"", body, kind % boundary, None).all("path"), paths)
        self.assertEqual(parse_params(b"", multipart(paths, "X"), "multipart/form-data", None).all("path"), [])

    def test_json(self):
        body = b'{"target": ["a", "b", null, {"x": 1}], "from": "-1h", "maxDataPoints": 100, "pretty": true, "x": {}}'
        params = parse_params(b"target=c&from=-2h", body, "application/json; charset=utf-8", None)
        self.assertEqual(params.all("target"), ["c", "a", "b"])
        self.assertEqual([params.last(key) for key in ("from", "maxDataPoints", "pretty")], ["-1h", "100", "1"])
        self.assertNotIn("x", params)
        for odd in (b"", b"[1]", b"5", b"{", b"[" * 100_000, b'{"a": "\\ud800"}', b"\xff"):
            self.assertIsInstance(parse_params(b"", odd, "application/json", None).all("a"), list)
        with self.assertRaises(RefusedError):
            parse_params(b"", json.dumps({"a": [1] * (MAX_FIELDS + 1)}).encode(), "application/json", None)

    def test_many_fields(self):
        paths = ["a"] * (MAX_FIELDS + 1)
        with self.assertRaises(RefusedError) as caught:
            parse_params(b"", multipart(paths, "X"), "multipart/form-data; boundary=X", None)
        self.assertEqual(caught.exception.status, 413)
        found = parse_params(b"", multipart(paths[1:], "X"), "multipart/form-data; boundary=X", None)
        self.assertEqual(len(found.all("path")), MAX_FIELDS)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(st.sampled_from(PIECES)))
    def test_short_texts_are_read_as_long_ones(self, pieces):
        text = b"".join(pieces)
        params, fields = parse_params(text, b"", "", None), {}
        for key, value in parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True):
            fields.setdefault(key, []).append(value)
        self.assertEqual({key: params.all(key) for key in params}, fields)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.sampled_from([b"--X", b"\r\n", b"--", b"a", HEAD, b"\xff"])))
    def test_anything_is_read(self, pieces):
        params = parse_params(b"", b"".join(pieces), "multipart/form-data; boundary=X", None)
        self.assertIsInstance(params.all("p"), list)

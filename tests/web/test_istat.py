"""istatd's HTTP answers: every recorded one, in both manners, and what was not recorded."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.countertree import CounterTree
from cadtwist.query.istat import Selection
from cadtwist.storage.settings import FileSettings
from cadtwist.web.answers import Answer
from cadtwist.web.istat import Listed, Selected, StatFile, StatRequest, respond
from cadtwist.web.istatencoding import chosen_encoding, compressed
from tests.istatrig import DATA, IstatRig, golden

NOW = 1325395000
CASES = sorted(name for name in os.listdir(os.path.join(DATA, "http")) if name.endswith(".json"))
FORM = "62_f_file.json"


class RigBackend:
    """The answers' material from a rig's store."""

    def __init__(self, rig: IstatRig, settings: FileSettings, compat: bool) -> None:
        self.compat = compat
        self.settings = settings
        self.rig = rig
        self.tree: CounterTree | None = CounterTree()
        self.files: dict[str, StatFile] = {}
        self.agents_known: list[Mapping[str, object]] = []
        for part in rig.store.walk():
            for name, event in part:
                self.tree.add(name.decode(), event)

    def now(self) -> int:
        return int(self.rig.now)

    async def select(self, name: str, start: int, end: int, most: int, trailing: bool) -> Selection | None:
        assert self.tree is not None
        if name.lower() not in self.tree:
            return None
        return self.rig.select(name, start, end, most, trailing)

    @property
    def local(self) -> RigBackend:
        return self

    async def select_many(
        self, names: Sequence[str], start: int, end: int, most: int, trailing: bool
    ) -> list[Selected]:
        return [await self.select(name, start, end, most, trailing) for name in names]

    async def matching(self, pattern: str) -> Listed:
        assert self.tree is not None
        return Listed(self.tree.matching(pattern))

    async def all_agents(self) -> Sequence[Mapping[str, object]]:
        return self.agents_known

    def file(self, name: str) -> StatFile | None:
        return self.files.get(name)


def request_of(text: str) -> StatRequest:
    """Return a recorded request."""
    head, _, body = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    method, target, _version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return StatRequest(method, target, headers, body.encode() if "content-length" in headers else None)


def close(a: Any, b: Any) -> bool:
    """Tell whether two JSON values are the same but for the precision of numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1)
    return bool(a == b)


class IstatCase(SynchronousTestCase):
    maxDiff = None

    def build(self, compat: bool) -> RigBackend:
        rig = IstatRig(self.mktemp(), "10s:1h,5m:2h,1h:3h", NOW)
        with open(os.path.join(DATA, "http", "input.txt"), encoding="utf-8") as file:
            rig.feed(file.read())
        rig.flush()
        settings = FileSettings(self.mktemp())
        settings.load_all()
        back = RigBackend(rig, settings, compat)
        form: str = golden("http", FORM)["body"]
        back.files["form.html"] = StatFile(form.encode(), 1795214996)
        return back

    def ask(self, request: StatRequest, back: RigBackend) -> Answer:
        return self.successResultOf(Deferred.fromCoroutine(respond(request, back)))

    def get(self, target: str, back: RigBackend, **headers: str) -> Answer:
        return self.ask(StatRequest("GET", target, {"host": "x", **headers}), back)

    def post(self, target: str, body: bytes | None, back: RigBackend) -> Answer:
        return self.ask(StatRequest("POST", target, {"host": "x"}, body), back)


class RecordedTests(IstatCase):
    def settle_agents(self, recorded: Any, back: RigBackend) -> None:
        back.agents_known = json.loads(recorded["body"])["agents"]

    def compare_head(self, case: str, recorded: Any, answer: Answer, request: StatRequest) -> None:
        self.assertEqual(answer.status, int(recorded["status"].split()[1]), case)
        headers = {name: value for name, _, value in (line.partition(": ") for line in recorded["headers"])}
        for name in ("Date", "Connection", "Content-Length"):
            headers.pop(name, None)
        told = {"Content-Type": answer.content_type, **answer.headers}
        told.pop("Date", None)
        encoding = chosen_encoding(request.headers.get("accept-encoding"))
        if encoding:
            told["Content-encoding"] = encoding
        self.assertEqual(told, headers, case)

    def test_answers_as_recorded(self) -> None:
        back = self.build(compat=True)
        for case in CASES:
            recorded = golden("http", case)
            request = request_of(recorded["request"])
            if "?a=" in request.target:
                self.settle_agents(recorded, back)
            answer = self.ask(request, back)
            self.compare_head(case, recorded, answer, request)
            body, text = recorded.get("body_decoded", recorded.get("body")), answer.body.decode()
            if "?q=" in request.target and answer.status == 200:
                found, expected = json.loads(text), json.loads(body)
                for listing in (found, expected):
                    listing["matching_names"].sort(key=lambda entry: entry["name"])
                self.assertEqual(found, expected, case)
            else:
                self.assertEqual(text, body, case)

    def test_exact_answers_are_valid_json_of_the_same_values(self) -> None:
        back = self.build(compat=False)
        for case in CASES:
            recorded = golden("http", case)
            body = recorded.get("body_decoded", recorded.get("body"))
            request = request_of(recorded["request"])
            if "?a=" in request.target:
                self.settle_agents(recorded, back)
            answer = self.ask(request, back)
            self.assertEqual(answer.status, int(recorded["status"].split()[1]), case)
            if answer.content_type == "application/json" and body:
                found = json.loads(answer.body)
                if isinstance(found, dict) and "matching_names" in found:
                    continue
                expected = json.loads(re.sub(r"\bnan\b", "null", body))
                self.assertTrue(close(found, expected), f"{case}: {found} {expected}")

    def test_saves_settings_as_recorded(self) -> None:
        back = self.build(compat=False)
        for case in CASES:
            request = request_of(golden("http", case)["request"])
            if request.method == "POST" and "?s=" in request.target:
                self.ask(request, back)
        back.settings.save()
        with open(os.path.join(back.settings.folder, "global.set"), encoding="utf-8") as file:
            found = file.read()
        with open(os.path.join(DATA, "http", "global.set"), encoding="utf-8") as file:
            self.assertEqual(found, file.read())

    def test_compressed_bodies_unpack(self) -> None:
        for case, unpack in (("40_gzip.json", gzip.decompress), ("41_deflate.json", zlib.decompress)):
            recorded = golden("http", case)
            encoding = "gzip" if "gzip" in case else "deflate"
            self.assertEqual(unpack(base64.b64decode(recorded["body_base64"])).decode(), recorded["body_decoded"])
            self.assertEqual(unpack(compressed(b"abc" * 100, encoding)), b"abc" * 100)


class CounterTests(IstatCase):
    def test_numbers_are_exact(self) -> None:
        back = self.build(compat=False)
        data = json.loads(self.get("/test.big?start=1325394000&end=1325394010", back).body)["buckets"][0]["data"]
        self.assertEqual((data["sum"], data["avg"]), (1234567.891, 1234567.891))
        body = json.dumps({"start": 1325394000, "stop": 1325394010, "keys": ["test.big"], "compact": True}).encode()
        cells = json.loads(self.post("/*", body, back).body)["test.big"]["data"]
        self.assertEqual(cells[0][4], 1234567.891)
        csv = self.get("/test.big?format=csv&start=1325394000&end=1325394010", back).body
        self.assertIn(b",1234567.891,", csv)

    def test_every_spelling_gets_its_answer_and_odd_keys_are_quoted(self) -> None:
        back = self.build(compat=False)
        body = json.dumps({"start": NOW - 1000, "stop": NOW, "keys": ["Test.Gauge", "test.gauge", 'no"such']}).encode()
        found = json.loads(self.post("/*", body, back).body)
        self.assertEqual(found["Test.Gauge"], found["test.gauge"])
        self.assertEqual(found['no"such'], "Not found.")

    def test_what_stopped_the_old_daemon_is_answered(self) -> None:
        back = self.build(compat=False)
        one = self.get("/test.gauge?start=1325394000&end=1325394000&samples=1", back)
        self.assertEqual(json.loads(one.body)["buckets"][0]["data"]["count"], 4)
        for body in (b"[]", b"5", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"keys":[5]}', b'{"keys":{}}'):
            answer = self.post("/*", body, back)
            self.assertEqual(answer.status, 400, body[:20])
            self.assertIn("error", json.loads(answer.body))

    def test_numbers_of_a_request(self) -> None:
        back = self.build(compat=False)
        for body, status in (
            (b'{"start":1.9,"keys":[],"stop":5}', 200),
            (b'{"start":true,"keys":[],"stop":5}', 200),
            (b'{"start":1e30,"keys":[]}', 400),
            (b'{"start":99999999999999999999,"keys":[]}', 400),
            (b'{"maxSamples":-1,"keys":[]}', 400),
            (b'{"start":5,"keys":[]}', 400),
        ):
            self.assertEqual(self.post("/*", body, back).status, status, body)
        self.assertEqual(self.get("/test.gauge?start=99999999999999999999", back).status, 400)

    def test_a_query_string_is_read_as_istatd_does(self) -> None:
        back = self.build(compat=False)
        self.assertIn(b'"pattern":"a b\xc3\xa9\xef\xbf\xbd"', self.get("/?q=a+b%C3%A9%zZ&flag", back).body)
        self.assertEqual(self.get("/anything?q=zzz", back).status, 200)

    def test_without_a_store_the_rest_still_answers(self) -> None:
        back = self.build(compat=False)
        back.tree = None
        for target in ("/x", "/?q=*"):
            self.assertEqual(self.get(target, back).status, 503)
        self.assertEqual(self.post("/*", b'{"keys":[]}', back).status, 503)
        self.assertEqual(self.get("/?a=*", back).status, 200)
        self.assertEqual(self.get("/?f=form.html", back).status, 200)


class FileTests(IstatCase):
    def test_types_and_ages(self) -> None:
        back = self.build(compat=False)
        for name, kind in (
            ("a.htm", "text/html; charset=utf-8"), ("a.css", "text/css; charset=utf-8"), ("a.jpg", "image/jpeg"),
            ("a.js", "application/javascript; charset=utf-8"), ("a.xml", "text/xml; charset=utf-8"),
            ("a.png", "image/png"), ("a.gif", "image/gif"), ("a.ico", "image/x-icon"),
            ("a.bin", "application/octet-stream"),
        ):  # fmt: skip
            back.files[name] = StatFile(b"data", NOW - 100)
            answer = self.get(f"/files/{name}", back)
            self.assertEqual((answer.content_type, answer.body), (kind, b"data"))
            self.assertEqual("Expires" in answer.headers, name == "a.png")
        back.files["old.css"] = StatFile(b"x", NOW - 100_000)
        self.assertEqual(self.get("/files/old.css", back).headers["Cache-Control"], "public; max-age=3600")
        self.assertEqual(self.get("/files/old.css?v=3", back).status, 200)

    def test_no_name_leads_elsewhere(self) -> None:
        back = self.build(compat=False)
        asked: list[str] = []
        back.file = asked.append  # type: ignore[assignment, func-returns-value, method-assign]
        for target in ("/files/../secret", "/?f=/etc/passwd", "/", "/favicon.ico"):
            self.assertEqual(self.get(target, back).status, 200 if target == "/" else 404)
        self.assertEqual(asked, ["...secret", ".etc.passwd", "index.html", "favicon.ico"])

    def test_the_first_page_is_ours_unless_the_folder_has_one(self) -> None:
        back = self.build(compat=False)
        answer = self.get("/", back)
        self.assertEqual(answer.content_type, "text/html; charset=utf-8")
        self.assertIn(b"<svg", answer.body)
        back.files["index.html"] = StatFile(b"theirs", NOW)
        self.assertEqual(self.get("/", back).body, b"theirs")

    def test_too_long_a_file(self) -> None:
        back = self.build(compat=False)
        back.files["big.js"] = StatFile(None, NOW)
        self.assertEqual(self.get("/files/big.js", back).status, 500)


class EncodingTests(SynchronousTestCase):
    def test_weights(self) -> None:
        for accepted, encoding in (
            (None, None), ("", None), ("gzip", "gzip"), ("deflate", "deflate"), ("gzip, deflate", "gzip"),
            ("deflate;q=0.9, gzip;q=0.8", "deflate"), ("*", "gzip"), ("gzip;q=0, *", "deflate"), ("gzip;q=0", None),
            ("br, gzip;q=0.5", None), ("identity;q=0.5, gzip;q=0.5", "gzip"), ("gzip;q=x", None),
            ("GZIP; q=1.0", "gzip"), ("gzip;q=1e999", None),
        ):  # fmt: skip
            self.assertEqual(chosen_encoding(accepted), encoding, accepted)

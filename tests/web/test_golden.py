"""graphite-web's recorded answers, from our doors."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from importlib.util import find_spec
from urllib.parse import urlencode

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from tests.web.goldentree import cases, site
from tests.web.wire import ask

DEVIATIONS = {
    "servers/web01": "a slash in a query means nothing",
    "**": "a double star works at the front, too",
    "**.user": "a double star works at the front, too",
    "servers.{web01,*}.cpu": "a path that several alternatives mean is told once",
    "weird.ünïcode": "names may have any character, as with UTF8_METRICS",
    "servers.{a{b,c},web01}.cpu.user": "braces nest in targets, too",
}
IMAGES = {"options-0033", "options-0038", "options-0039", "options-0040", "options-0041", "misc-0008"}
CAN_DRAW = find_spec("matplotlib") is not None
OTHERWISE = {
    "function-0074": "asPercent shows series without a total as unknown, where the reference breaks",
    "tags-0032": "a regular expression that is none is the client's fault: 400",
    "events-0017": "a body that is no JSON is the client's fault: 400",
    **{f"index-000{i}": "the reference forgets compressed files; see test_index" for i in range(1, 5)},
    "misc-0005": "/info is carbonserver's",
}


def close(a, b):
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    return a == b


TOLD = ("description", "module", "function")


def bag(value):
    if isinstance(value, dict) and isinstance(value.get("metrics"), list):
        value = value["metrics"]
    return sorted(json.dumps(x, sort_keys=True) for x in value) if isinstance(value, list) else value


def shape(value):
    return [(len(s["datapoints"]), [p[1] for p in s["datapoints"]]) for s in value]


def without(value, *keys):
    if isinstance(value, dict):
        return {key: without(inner, *keys) for key, inner in value.items() if key not in keys}
    return [without(inner, *keys) for inner in value] if isinstance(value, list) else value


def picked(value):
    keep = ("path", "is_leaf", "name", "nodes")
    return [{k: v for k, v in x.items() if k in keep} for x in value] if isinstance(value, list) else value


def decoded(kind, body):
    if kind == "application/pickle":
        return pickle.loads(body)
    if kind == "application/x-msgpack":
        return msgspec.msgpack.decode(body)
    return json.loads(body)


def fault(answer, reply):
    """Return what is different, or None."""
    mode, kind = answer["compare"], reply.headers.get("content-type", "")
    if mode == "error":
        return None if reply.status >= 400 else "no error"
    if reply.status != answer["status"]:
        return f"status {reply.status} for {answer['status']}: {reply.body[:80]!r}"
    if mode == "status":
        return None
    want_kind = answer["headers"].get("content-type", "")
    if kind.split(";")[0] != want_kind.split(";")[0]:
        return f"type {kind} for {want_kind}"
    for header in ("cache-control", "pragma"):
        want = answer["headers"].get(header)
        if want is not None and reply.headers.get(header, "").replace(", private", "") != want.replace(", private", ""):
            return f"{header}: {reply.headers.get(header)} for {want}"
    if mode == "content-type":
        return None
    if "json" not in answer and "decoded" not in answer:
        text = answer.get("text", "")
        same = reply.body.decode().startswith(text[:60]) if mode == "error-prefix" else reply.body.decode() == text
        same = same or "text" not in answer
        return None if same else f"{reply.body[:120]!r} for {answer['text'][:120]!r}"
    want, got = answer.get("json", answer.get("decoded")), decoded(kind, reply.body)
    if not MODES.get(mode, close)(want, got):
        return f"{str(got)[:200]} for {str(want)[:200]}"
    text = answer.get("text")
    if mode not in MODES and text is not None and "json" in answer and reply.body.decode() != text:
        return f"bytes differ: {reply.body[:200]!r} for {text[:200]!r}"
    return None


MODES = {
    "no-intervals": lambda want, got: bag(picked(want)) == bag(picked(got)),
    "unordered": lambda want, got: bag(want) == bag(got),
    "no-id": lambda want, got: without(want, "id") == without(got, "id"),
    "no-description": lambda want, got: without(want, *TOLD) == without(got, *TOLD),
    "shape": lambda want, got: shape(want) == shape(got),
}


class GoldenTests(SynchronousTestCase):
    def test_recordings(self) -> None:
        self.replay(*site(self.mktemp()))

    def test_recordings_from_our_store(self) -> None:
        root = self.mktemp()
        self.replay(*site(root, unzip=False, store=WhisperStore(root, SchemaTable())))

    def replay(self, doors, clock) -> None:
        wrong, right = [], Counter()
        for request, answer in cases():
            fields = [*request["params"], *(request["body"] if isinstance(request.get("body"), list) else [])]
            asked = [value for key, value in fields if key in ("query", "target")]
            if request["id"] in IMAGES and not CAN_DRAW:
                continue
            if set(asked) & set(DEVIATIONS) or request["id"] in OTHERWISE:
                continue
            body = request.get("body") or ""
            if isinstance(body, list):
                body = urlencode([tuple(pair) for pair in body])
            headers = dict(request.get("headers", {}))
            if "content_type" in request:
                headers["Content-Type"] = request["content_type"]
            path = request["path"]
            reply = ask(doors, clock, request["method"], path, request["params"], headers, body.encode())
            if request["method"] == "HEAD":
                self.assertEqual((reply.status, reply.body), (200, b""))
                continue
            found = fault(answer, reply)
            if found is None:
                right[request["group"]] += 1
            else:
                wrong.append(f"{request['id']} {request['compare']} {asked} {request['params']}: {found}")
        self.assertEqual(wrong, [], f"{len(wrong)} differ, {dict(right)} agree:\n" + "\n".join(wrong))
        self.assertGreaterEqual(sum(right.values()), 1340)

    def test_index(self) -> None:
        doors, clock = site(self.mktemp())
        recorded = {answer["id"]: answer for _, answer in cases()}["index-0001"]["json"]
        names = json.loads(ask(doors, clock, "GET", "/metrics/index.json").body)
        self.assertEqual(names, sorted([*recorded, "misc.zipped"]))

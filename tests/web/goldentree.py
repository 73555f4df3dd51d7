"""The recorded tree of series behind our doors; files are read with the whisper library."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import numpy as np
import whisper
from twisted.internet.task import Clock
from zope.interface import implementer

from cadtwist.interfaces import IStore
from cadtwist.model.batch import NO_ID
from cadtwist.model.pattern import tagged_path
from cadtwist.model.series import Series
from cadtwist.query.index import MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.query.resolution import SchemaInfo
from cadtwist.web.context import WebContext
from cadtwist.web.site import ApiSite
from tests.query.hotpoints import every_has

DATA = os.path.join(os.path.dirname(__file__), os.pardir, "data", "graphite-web")


@implementer(IStore)
class LibraryStore:
    def __init__(self, root: str) -> None:
        self.root = root

    def write(self, job):
        raise NotImplementedError

    def fetch(self, name, start, end, now):
        paths = [tagged_path(name, True), tagged_path(name, False)] if ";" in name else [name]
        for path in paths:
            file = os.path.join(self.root, path.replace(".", "/") + ".wsp")
            if os.path.exists(file):
                found = whisper.fetch(file, start, end, now)
                if found is None:
                    return None
                (first, behind, step), values = found
                return Series(name, first, behind, step, np.array(values, np.float64))
        return None


def unpack(root: str, unzip: bool = True) -> MetricIndex:
    """Write the recorded files below `root`, compressed ones as such unless `unzip`; return the index of them."""
    index = MetricIndex(7)
    with tarfile.open(os.path.join(DATA, "whisper.tar.gz")) as archive:
        for member in archive.getmembers():
            if not member.isfile():
                continue
            data = archive.extractfile(member).read()
            name = member.name.partition("/")[2]
            if name.endswith(".gz") and unzip:
                data, name = gzip.GzipFile(fileobj=io.BytesIO(data)).read(), name[:-3]
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            index.add(name.removesuffix(".gz")[: -len(".wsp")].replace("/", ".").encode())
    return index


def context(root: str, unzip: bool = True, **changes) -> WebContext:
    with open(os.path.join(DATA, "tree.json")) as file:
        now = json.load(file)["now"]
    schema = SchemaInfo(((60, 120),), "average", 0.0)
    owner = LocalOwner(unpack(root, unzip), lambda _: NO_ID, every_has(), lambda _: schema)
    return WebContext(**{"owner": owner, "store": LibraryStore(root), "clock": lambda: float(now), **changes})


def site(root: str, **changes) -> tuple[ApiSite, Clock]:
    clock = Clock()
    return ApiSite(context(root, **changes), reactor=clock), clock


def cases() -> list[tuple[dict, dict]]:
    """Return the recorded (request, answer) pairs."""
    with gzip.open(os.path.join(DATA, "cases.json.gz"), "rt", encoding="utf-8") as file:
        requests = json.load(file)["cases"]
    with gzip.open(os.path.join(DATA, "answers.jsonl.gz"), "rt", encoding="utf-8") as file:
        answers = {answer["id"]: answer for answer in map(json.loads, file)}
    return [(request, answers[request["id"]]) for request in requests]

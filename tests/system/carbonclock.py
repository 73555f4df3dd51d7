"""carbon's aggregator by a clock of our own, without sockets; run by the Python that has carbon 1.1.10.

    python carbonclock.py CASES ANSWERS FOLDER

CASES is a JSON list of {start, settings, rules, rewrites, blacklist, whitelist, steps}: texts of the files, which are
written to FOLDER, and steps ["line", text] and ["wait", seconds], the latter in quarters.  ANSWERS gets for each case
{told, errors, refused}: what would go to the relay, as (when, name, timestamp, value), and what was wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import carbon.events
import carbon.instrumentation
from carbon import log, pipeline, protocols, rewrite, state
from carbon.aggregator import buffers, processor, rules
from carbon.conf import settings
from twisted.internet.task import Clock, LoopingCall

CASES, ANSWERS, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
TICK_S = 0.25


class Now:
    """The time, and what happened."""

    clock = Clock()
    told: list[tuple[float, str, float, float]] = []
    errors: list[str] = []

    @staticmethod
    def time() -> float:
        return Now.clock.seconds()

    @staticmethod
    def call(what: Any) -> Any:
        made = LoopingCall(what)
        made.clock = Now.clock
        return made

    @staticmethod
    def fault(*what: object) -> None:
        Now.errors.append(f"{what} {sys.exc_info()[1]}")


class Sink(pipeline.Processor):  # type: ignore[misc]
    """Stands for the relay."""

    plugin_name = "sink"

    def process(self, metric: str, datapoint: tuple[float, float]) -> tuple[()]:
        Now.told.append((Now.time(), metric, *datapoint))
        return ()


def reread(reader: Any, path_name: str, text: str, read: str) -> None:
    """Let a reader of carbon's read a text as its file."""
    path = FOLDER / path_name
    path.write_text(text, encoding="utf-8")
    reader.rules_last_read = 0.0
    setattr(reader, "list_file" if read == "read_list" else "rules_file", str(path))
    getattr(reader, read)()


def replay(case: Any) -> Any:
    """Return what carbon does."""
    Now.clock, Now.told, Now.errors = Clock(), [], []
    Now.clock.advance(case["start"])
    settings.update(case["settings"])
    buffers.BufferManager.clear()
    rewrite.RewriteRuleManager.clear()
    reread(rewrite.RewriteRuleManager, "rewrite-rules.conf", case["rewrites"], "read_rules")
    reread(protocols.BlackList, "blacklist.conf", case["blacklist"], "read_list")
    reread(protocols.WhiteList, "whitelist.conf", case["whitelist"], "read_list")
    try:
        reread(rules.RuleManager, "aggregation-rules.conf", case["rules"], "read_rules")
    except Exception as fault:  # noqa: BLE001 (whatever a bad rule raises ends carbon's start)
        return {"told": [], "errors": [], "refused": str(fault)}
    before, after = rewrite.RewriteProcessor("pre"), rewrite.RewriteProcessor("post")
    state.pipeline_processors[:] = [before, processor.AggregationProcessor(), after, Sink()]
    receiver = protocols.MetricLineReceiver()
    receiver.peerName = "peer"
    for kind, value in case["steps"]:
        if kind == "line":
            receiver.lineReceived(value.encode())
        else:
            Now.clock.pump([TICK_S] * round(value / TICK_S))
    return {"told": Now.told, "errors": Now.errors, "refused": None}


def main() -> None:
    """Replay all cases."""
    log.err = pipeline.log.err = Now.fault
    log.msg = log.debug = log.listener = log.aggregator = lambda *what, **named: None
    buffers.time = protocols.time = Now
    buffers.LoopingCall = Now.call
    state.events, state.instrumentation = carbon.events, carbon.instrumentation
    carbon.events.metricReceived.addHandler(pipeline.run_pipeline)
    carbon.events.metricGenerated.addHandler(pipeline.run_pipeline_generated)
    state.pipeline_processors_generated[:] = [Sink()]
    cases = json.loads(Path(CASES).read_text(encoding="utf-8"))
    Path(ANSWERS).write_text(json.dumps([replay(case) for case in cases]), encoding="utf-8")


main()

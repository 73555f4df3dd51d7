"""istatd's settings, 300 sets of 300 keys: start, get and pattern get through HTTP's answers, in files and in Redis."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.report import Row
from tests.system.environment import Missing, build
from tests.system.redisd import RedisServer

__all__ = ["settings"]

SETS, KEYS = 300, 300
MOST_MS = 50.0
VALUE = '{"size":{"width":600,"height":240},"graphs":[["site.web1.cpu.idle","site.web2.cpu.idle"]],"formats":[3]}'
TIMES = 20
STEPS = ("start", "get", "pattern get")

ROOT = Path(__file__).resolve().parent.parent

CHILD = """
import json, sys, time
from cadtwist.services.settings import SettingsKeeper
from cadtwist.web.istat import StatRequest, respond
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

async def main(reactor):
    where, times = sys.argv[1], int(sys.argv[2])
    class Back:
        settings = None
    began = time.perf_counter()
    keeper = SettingsKeeper(reactor, where)
    parts = list(keeper.services())
    for part in parts:
        part.startService()
    Back.settings = keeper.settings
    assert (await ask(Back, "/?s=nobody")).status == 404
    took = {"start": [(time.perf_counter() - began) * 1e3], "get": [], "pattern get": []}
    for turn in range(times):
        for what, target in (("get", f"/?s=user{turn}"), ("pattern get", f"/?s=user{turn + times}&sk=dash*.?9*")):
            began = time.perf_counter()
            answer = await ask(Back, target)
            took[what].append((time.perf_counter() - began) * 1e3)
            assert answer.status == 200, answer
    for part in reversed(parts):
        await part.stopService() if part.name == "settings" and "://" in where else part.stopService()
    print(json.dumps(took))

async def ask(back, target):
    return await respond(StatRequest("GET", target, {"host": "x"}), back)

task.react(lambda reactor: ensureDeferred(main(reactor)))
"""


def _values() -> dict[str, str]:
    return {f"dashboard.{number:03}": VALUE for number in range(KEYS)}


def _fill_folder(folder: Path) -> str:
    from cadtwist.storage.settings import settings_text  # noqa: PLC0415 (what is measured)

    folder.mkdir()
    for number in range(SETS):
        (folder / f"user{number}.set").write_text(settings_text(_values()))
    return str(folder)


def _fill_redis(redis: RedisServer) -> str:
    """Send the commands that `RedisSettings` sends, all at once."""
    commands = []
    for number in range(SETS):
        fields = [text for item in _values().items() for text in item]
        commands += [["SADD", "istat:settings:", f"user{number}"], ["HSET", f"istat:settings:user{number}", *fields]]
    with socket.create_connection(("127.0.0.1", redis.port), 10) as connection:
        for command in commands:
            parts = [f"${len(word)}\r\n{word}\r\n" for word in command]
            connection.sendall(f"*{len(command)}\r\n{''.join(parts)}".encode())
            connection.recv(100)
    return redis.url


def _measured(where: str) -> dict[str, float]:
    """Return the milliseconds of each step in a process of its own: the slowest of its kind."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, where, str(TIMES)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
    return {what: max(times) for what, times in json.loads(done.stdout).items()}


def settings(bench: Bench) -> Iterator[Row]:
    """Yield how long each step takes at the worst, the median over the turns."""
    with bench.folder() as folder:
        places = {"files": _fill_folder(folder / "settings")}
        redis: RedisServer | None = None
        try:
            build("redis-server")
            redis = RedisServer(folder / "redis")
            redis.start()
            places["redis"] = _fill_redis(redis)
        except Missing as reason:
            say(f"redis: left out: {reason}")
        try:
            for kind, where in places.items():
                runs = [_measured(where) for _turn in range(bench.repeat)]
                for what in STEPS:
                    figure = statistics.median(run[what] for run in runs)
                    note = f"{SETS} sets of {KEYS} keys; slowest of {TIMES}" if what != "start" else "until it answers"
                    yield Row("settings", f"{kind}: {what}", "cadtwist", figure, "ms", MOST_MS, note=note)
        finally:
            if redis is not None:
                redis.kill()

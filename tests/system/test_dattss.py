"""The DaTtSs server as a process: the original npm driver, our clients and examples, kills, several nodes."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from msgspec.structs import replace

from cadtwist.client.blocking import BlockingClient
from cadtwist.client.settings import ClientSettings
from cadtwist.client.threads import ThreadedClient
from tests.system.cadtwistd import ROOT
from tests.system.case import SystemTestCase
from tests.system.dattssd import Dattssd
from tests.system.environment import folder as neighbours_folder
from tests.system.loads import Asker, HttpClient
from tests.system.process import end_serving, free_ports, hand_over, until

EXAMPLES = ROOT / "examples" / "clients"
DRIVER = """
const { dattss } = require('dattss');
const one = dattss({ name: 'driver' });
for (const [path, value, udp] of [
  ['calls', '1c'], ['calls', '2c!'], ['live', '23g'], ['live', '-7g'], ['query', '153ms'], ['query', '47ms'],
  ['udp', '5c', true], ['bad path', '1c'], ['bang!path', '1c'], ['zero', '0c'], ['zero', '5c'],
]) one.agg(path, value, udp);
setTimeout(() => { one.agg('calls', '4c'); }, 1500);
setTimeout(() => { one.stop(); process.exit(0); }, 3500);
"""


class Putter(HttpClient):
    """Puts one value at a time, byte by byte."""

    def __init__(self, server: Dattssd) -> None:
        super().__init__("putter", http.client.HTTPConnection("127.0.0.1", server.http, timeout=30))
        self._uri = f"/agg?auth={server.keys.key('user1')}"
        one = dict.fromkeys(("sum", "cnt", "max", "min", "fst", "lst", "top", "bot"), 1)
        part = {"typ": "c", "pth": "slow", "pct": 0.1, "emp": False, **one}
        self._body = json.dumps({"prt": {"c": [part], "g": [], "ms": []}}).encode()

    def say(self, line: bytes) -> None:
        """Put it; it counts when the answer is good."""
        text = self.ask("PUT", self._uri, self._body, True)
        if text != b'{"ok":true}':
            raise OSError(repr(text))


class DattssCase(SystemTestCase):
    """A running server."""

    def server(self, name: str = "server", **options: object) -> Dattssd:
        return self.started(Dattssd(self.folder / name, **options))  # type: ignore[arg-type]

    def settings(self, server: Dattssd, **more: object) -> ClientSettings:
        return ClientSettings(
            auth=server.keys.key("user1"), http_host="127.0.0.1", http_port=server.http, udp_host="127.0.0.1",
            udp_port=server.udp, **more,  # type: ignore[arg-type]
        )  # fmt: skip


class DriverTests(DattssCase):
    """`dattss` 0.1.8 from npm, unchanged: v1 bodies, datagrams."""

    def test_it_works_unchanged(self) -> None:
        self.needs("dattss")
        server = self.server()
        script = self.folder / "driver.js"
        script.write_text(DRIVER)
        key = server.keys.first_key("user1")
        environ = {**os.environ, **server.environ_of_clients(), "DATTSS_AUTH_KEY": key, "DATTSS_PUSH_PERIOD": "500"}
        environ["NODE_PATH"] = str(neighbours_folder() / "dattss" / "node_modules")
        done = subprocess.run(["node", script], env=environ, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        wanted = {"driver.calls": 7, "driver.udp": 5, "driver.zero": 5}
        until("all is counted", lambda: server.sums() == wanted, 30)
        status = server.ask("/s/status")
        self.assertEqual([(e["pth"], e["lst"], e["max"], e["min"]) for e in status["g"]], [("driver.live", -7, 23, -7)])
        self.assertEqual([(e["pth"], e["avg"], e["max"], e["min"]) for e in status["ms"]],
                         [("driver.query", "100.00", 153, 47)])  # fmt: skip
        self.assertEqual([each["name"] for each in server.ask("/s/processes")], ["driver"])
        ledger = server.ledger()
        self.assertEqual(ledger["dattss"]["counters"]["bad.name"], 1, "the path with an exclamation mark")
        self.assertEqual({name: each["balance"] for name, each in ledger.items() if each["balance"]}, {})

    def test_a_process_that_restarts_begins_anew(self) -> None:
        self.needs("dattss")
        server = self.server()
        script = self.folder / "driver.js"
        script.write_text(DRIVER)
        environ = {**os.environ, **server.environ_of_clients(), "DATTSS_PUSH_PERIOD": "1000"}
        environ["NODE_PATH"] = str(neighbours_folder() / "dattss" / "node_modules")
        for _ in range(2):
            subprocess.run(["node", script], env=environ, capture_output=True, timeout=60, check=True)
        until("the second life's total", lambda: server.sums().get("driver.calls") == 7, 30)


class KillTests(DattssCase):
    def test_kill_9_loses_nothing_that_was_answered(self) -> None:
        """Blocking clients put while the server is killed again and again; each keeps what is not taken."""
        server = self.server()
        stop = threading.Event()
        counts = [0, 0]
        clients = [BlockingClient(self.settings(server, push_period_s=0.05)) for _ in counts]

        def work(number: int) -> None:
            while not stop.is_set():
                clients[number].agg("calls", "1c")
                counts[number] += 1
                time.sleep(0.002)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(counts))]
        for thread in threads:
            thread.start()
        for _ in range(self.number("CADTWIST_SYSTEM_KILLS", 4)):
            time.sleep(0.7)
            server.kill()
            server.start()
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients:
            until("the rest is taken", client.push, 30)
        total = server.sums()["calls"]
        # what was logged before its answer was lost is put once more by its client: never less, hardly more
        self.assertTrue(sum(counts) <= total <= sum(counts) * 1.5, f"{total} of {sum(counts)}")
        self.assertEqual(sum(client.core.lost for client in clients), 0)

    def test_hand_overs_lose_nothing_and_count_nothing_twice(self) -> None:
        """A new process takes over, again and again, while clients put and send single values."""
        server = self.server()
        stop = threading.Event()
        client = BlockingClient(self.settings(server, push_period_s=0.05, process="udp"))
        counts = [0, 0]

        def work() -> None:
            while not stop.is_set():
                client.agg("calls", "1c")
                counts[0] += 1
                counts[1] += client.agg("values", "1c", udp=True)
                time.sleep(0.002)

        thread = threading.Thread(target=work)
        thread.start()
        kept = [Putter(server), Asker("asker", server.reports, "/ledger")]
        for each in kept:
            each.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 3)):
            hand_over(server.serving)
            time.sleep(0.5)
        stop.set()
        thread.join()
        for each in kept:
            each.end()
        self.assertEqual([(each.faults, each.connects) for each in kept], [([], 1), ([], 1)])
        until("the rest is taken", client.push, 30)
        until("all values are there", lambda: server.sums().get("udp.values") == counts[1], 30)
        self.assertEqual((server.sums()["calls"], server.sums()["slow"]), (counts[0], kept[0].sent))
        end_serving(server.serving)

    def test_a_kill_ends_a_process(self) -> None:
        server = self.server()
        code = "import time; from cadtwist.client.threads import ThreadedClient as C; C(process='web'); time.sleep(60)"
        environ = {**os.environ, **server.environ_of_clients(), "PYTHONPATH": str(ROOT)}
        with subprocess.Popen([sys.executable, "-c", code], env=environ, stderr=subprocess.PIPE, text=True) as client:
            try:
                until("it shows itself", lambda: [e["status"] for e in server.ask("/s/processes")] == ["up"], 30)
                key = server.keys.key("user1")
                subprocess.run(["curl", "-s", "-X", "DELETE", f"http://127.0.0.1:{server.http}/s/process/web?auth={key}"],
                               check=True, capture_output=True)  # fmt: skip
                _, told = client.communicate(timeout=30)
            finally:
                client.kill()
        self.assertEqual((client.returncode, told.strip()), (1, "DaTtSs Kill signal received!"))

    def test_the_server_comes_later_than_its_clients(self) -> None:
        http, *_ = free_ports(1)
        settings = ClientSettings(auth="", http_host="127.0.0.1", http_port=http, push_period_s=0.1, timeout_s=1.0)
        server = Dattssd(self.folder / "server", http=http)
        client = ThreadedClient(replace(settings, auth=server.keys.key("user1")))
        self.addCleanup(client.stop)
        for _ in range(20):
            client.agg("calls", "1c")
            time.sleep(0.05)
        self.assertGreater(client.core.failures, 0)
        self.started(server)
        until("all arrived", lambda: server.sums().get("calls") == 20, 30)


ASYNCIO = """
import asyncio
from cadtwist.client.aio import AioClient

async def main():
    async with AioClient(process="asyncio") as client:
        for number in range(100):
            client.agg("aio.calls", "1c")
            await asyncio.sleep(0.01)

asyncio.run(main())
"""
TWISTED = """
from twisted.internet import reactor, task
from cadtwist.client.tx import TwistedClient

client = TwistedClient(reactor, process="twisted")
client.startService()
calls = task.LoopingCall(lambda: client.agg("tx.calls", "1c"))

def end():
    calls.stop()
    return client.stopService().addBoth(lambda _: reactor.stop())

calls.start(0.01)
reactor.callLater(1, end)
reactor.run()
assert not client.core.lost
print(client.core.sent)
"""


class ClientTests(DattssCase):
    """Our clients that run in a loop; those with threads and without are in KillTests."""

    def run_client(self, server: Dattssd, code: str) -> None:
        environ = {**os.environ, **server.environ_of_clients(), "DATTSS_PUSH_PERIOD": "0.2", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_asyncio_and_twisted(self) -> None:
        server = self.server()
        self.run_client(server, ASYNCIO)
        self.run_client(server, TWISTED)
        sums = server.sums()
        self.assertEqual(sums["aio.calls"], 100)
        self.assertGreater(sums["tx.calls"], 20)
        self.assertEqual({e["name"]: e["status"] for e in server.ask("/s/processes")},
                         {"asyncio": "down", "twisted": "down"})  # fmt: skip


class NodesTests(DattssCase):
    def test_each_user_lives_on_one_node(self) -> None:
        ports = free_ports(2)
        servers = [self.server(f"node{port}", nodes=ports, http=port) for port in ports]
        users = [f"user{number}" for number in range(8)]
        for user in users:
            for server in servers:
                settings = ClientSettings(auth=server.keys.key(user), http_host="127.0.0.1", http_port=server.http)
                with BlockingClient(settings) as client:
                    client.agg("calls", "1c")
        found = [sum(server.sums(user)["calls"] for user in users) for server in servers]
        self.assertEqual(found, [16, 16])
        homes = [int(server.ledger()["dattss"]["gauges"]["users"]) for server in servers]
        self.assertEqual(sum(homes), len(users))
        servers[1].kill()
        settings = ClientSettings(http_host="127.0.0.1", http_port=servers[0].http, timeout_s=20.0)
        kept = 0
        for user in users:
            client = BlockingClient(replace(settings, auth=servers[0].keys.key(user)))
            client.agg("calls", "1c")
            kept += not client.push()
        self.assertEqual(kept, homes[1], "those of the node that is away keep their values")


class ExampleTests(DattssCase):
    """The programs in examples/clients whose languages are here."""

    SENDERS = {
        "send_value.sh": ("bash", "send_value.sh"),
        "send_value.js": ("node", "send_value.js"),
        "send_value.pl": ("perl", "send_value.pl"),
        "send_value.php": ("php", "send_value.php"),
        "send_value.rb": ("ruby", "send_value.rb"),
        "SendValue.java": ("java", "SendValue.java"),
        "send_value.go": ("go", "run", "send_value.go"),
    }

    def run_example(self, server: Dattssd, command: list[str], text: str = "") -> None:
        environ = {**os.environ, **server.environ_of_clients(), "PYTHONPATH": str(ROOT), "GOFLAGS": "-mod=mod"}
        done = subprocess.run(
            command, cwd=EXAMPLES, env=environ, input=text, capture_output=True, text=True, timeout=300, check=False
        )
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr}")

    def test_single_values(self) -> None:
        server = self.server()
        wanted = {}
        missing = []
        for name, (program, *words) in self.SENDERS.items():
            self.assertTrue((EXAMPLES / name).exists())
            if shutil.which(program) is None:
                missing.append(program)
                continue
            wanted[f"web.{name}"] = 7
            self.run_example(server, [program, *words, "web", name, "7c"])
        if shutil.which("cc"):
            binary = str(self.folder / "send_value")
            subprocess.run(["cc", "-Wall", "-Werror", EXAMPLES / "send_value.c", "-o", binary], check=True)
            self.run_example(server, [binary, "web", "send_value.c", "7c"])
            wanted["web.send_value.c"] = 7
        print(f"examples not run, their interpreters are not here: {', '.join(missing) or 'none'}")
        self.assertGreater(len(wanted), 2)
        until("all arrived", lambda: server.sums() == wanted, 30)

    def test_partials(self) -> None:
        server = self.server()
        numbers = "".join(f"{number}\n" for number in [153, 20, 5, 99, 1000, 7, 42, 42, 61, 300, 12])
        for program in ("node", "bash"):
            if shutil.which(program) and (program != "bash" or shutil.which("curl")):
                suffix = "js" if program == "node" else "sh"
                self.run_example(server, [program, f"put_partials.{suffix}", f"{program}.time", "ms"], numbers)
        server.stop()
        server.start()
        for program in ("node", "bash"):
            if shutil.which(program) and (program != "bash" or shutil.which("curl")):
                key = server.keys.key("user1")
                (minute,) = server.ask(f"/s/stats/{program}.time/ms/0/2")["current"]
                self.assertEqual(
                    {name: minute[name] for name in ("sum", "cnt", "max", "min", "fst", "lst", "top", "bot")},
                    {"sum": 1741, "cnt": 11, "max": 1000, "min": 5, "fst": 153, "lst": 12, "top": 1000, "bot": 12},
                    f"{program} {key}",
                )

    def test_python(self) -> None:
        server = self.server()
        self.run_example(server, [sys.executable, "count.py", "things"])
        self.assertEqual(server.sums(), {"things": 100})
        self.assertEqual([each["lst"] for each in server.ask("/s/status")["g"]], [99])

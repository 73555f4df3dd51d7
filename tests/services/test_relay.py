"""A relay in one process: unix sockets in, unix sockets out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pickle import loads
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver

from cadtwist.config.model import Config, Listener, StagesConfig
from cadtwist.config.relaymodel import (
    DestinationConfig,
    FilterRule,
    FloodConfig,
    GroupConfig,
    LineConfig,
    QueueConfig,
    ReconnectConfig,
    RelayConfig,
    SamplingConfig,
    SpoolConfig,
)
from cadtwist.model.rules import RewriteRule
from cadtwist.net.handover import Inheritance
from cadtwist.routing.alike import REMEMBERED_NAMES
from cadtwist.services.build import Daemon
from cadtwist.services.chains import GRAPHITE, KEYS, group_label, targets_of
from cadtwist.services.orphans import spool_folder
from cadtwist.services.routers import router_of
from cadtwist.telemetry import Account
from tests.services.daemons import DaemonCase, reactor, until

QUICK = ReconnectConfig(initial_s=0.02, max_s=0.05, jitter=0.0)
LINES = b"".join(b"m.%d %d 1700000000\n" % (n, n) for n in range(300))


class _Lines(LineOnlyReceiver):
    delimiter = b"\n"

    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def lineReceived(self, line: bytes) -> None:
        self.factory.lines.append(line)


class _Bytes(Protocol):
    def connectionMade(self) -> None:
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.factory.lines.append(data)


class Sink(Factory):
    """Collects lines at a unix socket."""

    noisy = False
    protocol = _Lines

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.connections: list[Any] = []
        self.port: Any = None

    def open(self) -> None:
        self.port = reactor.listenUNIX(self.path, self)

    async def close(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        for connection in self.connections:
            connection.transport.abortConnection()
        self.connections = []


class RelayCase(DaemonCase):
    """Three sinks `d0` ... `d2`."""

    def setUp(self) -> None:
        super().setUp()
        self.sinks = {f"d{n}": Sink(os.path.join(self.folder, f"d{n}.sock")) for n in range(3)}
        for sink in self.sinks.values():
            sink.open()

    def tearDown(self) -> Any:
        async def end() -> None:
            await self.stop_all()
            for sink in self.sinks.values():
                await sink.close()

        return ensureDeferred(end())

    def relay(self, *relays: RelayConfig, queue: QueueConfig | None = None, **changes: Any) -> Config:
        destinations = tuple(
            DestinationConfig(
                name=name, transport="unix", path=sink.path, host="10.0.0.1", instance=name,
                queue=queue or QueueConfig(), reconnect=QUICK,
            )
            for name, sink in self.sinks.items()
        )  # fmt: skip
        base = Config(
            listeners=(Listener(protocol="line", transport="unix", path=self.door),),
            relays=relays or (RelayConfig(groups=(self.group(),)),),
            destinations=destinations,
            spool=SpoolConfig(directory=os.path.join(self.folder, "spool"), segment_bytes=1 << 20),
        )
        return replace(base, **changes)

    def group(self, **values: Any) -> GroupConfig:
        return GroupConfig(**{"members": tuple(self.sinks), **values})

    def total(self) -> int:
        return sum(len(sink.lines) for sink in self.sinks.values())

    def placed(self, config: Config, group: GroupConfig, data: bytes = LINES) -> dict[str, list[bytes]]:
        """Return which lines each sink is to get."""
        router = router_of(group, {each.name: each for each in config.destinations})
        wanted: dict[str, list[bytes]] = {name: [] for name in self.sinks}
        for line in data.splitlines():
            for choice in router.route(line.split()[0]):
                wanted[choice.candidates[0]].append(line)
        return wanted

    async def change(self, daemon: Daemon, config: Config) -> None:
        before = daemon.chains
        daemon.change(config)
        await until(lambda: daemon.chains is not before)

    def got(self) -> Mapping[str, list[bytes]]:
        return {name: sink.lines for name, sink in self.sinks.items()}


class RelayTests(RelayCase):
    """Where lines go."""

    def test_lines_go_unchanged_where_the_ring_has_them(self) -> Any:
        async def run() -> None:
            config = self.relay()
            daemon = await self.start(config)
            await self.send(LINES + b"no line\n")
            await until(lambda: self.total() == 300)
            self.assertEqual(self.got(), self.placed(config, self.group()))
            self.balanced(daemon)
            status = daemon.status()
            self.assertEqual(status["names"], 300)

        return ensureDeferred(run())

    def test_many_names_are_placed_without_being_remembered(self) -> Any:
        async def run() -> None:
            group = self.group(method="c_relay", hash="fnv1a_ch", replication=2)
            config = self.relay(RelayConfig(groups=(group,)))
            daemon = await self.start(config)
            some = b"".join(b"some.%d 1 1\n" % number for number in range(REMEMBERED_NAMES))
            tagged = b"".join(b"many.%d;t=%d 1 1\n" % (number, number) for number in range(100))
            many = b"".join(b"many.%d 1 1\n" % number for number in range(5000))
            await self.send(some + tagged + many)
            await until(lambda: self.total() == 2 * (REMEMBERED_NAMES + 5100))
            self.assertEqual(self.got(), self.placed(config, group, some + tagged + many))
            self.assertLessEqual(daemon.status()["names"], REMEMBERED_NAMES + 100 + 301)
            await self.change(daemon, self.relay(RelayConfig(groups=(self.group(members=("d2", "d1")),))))
            before = {name: len(sink.lines) for name, sink in self.sinks.items()}
            await self.send(many)
            await until(lambda: self.total() == 2 * (REMEMBERED_NAMES + 5100) + 5000)
            wanted = self.placed(config, self.group(members=("d2", "d1")), many)
            self.assertEqual({name: sink.lines[before[name] :] for name, sink in self.sinks.items()}, wanted)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_names_with_tags_in_another_order_leave_those_beside_them_alone(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay(RelayConfig(groups=(self.group(method="constant", members=("d0",)),))))
            some = [b"some.%d 1 1" % number for number in range(REMEMBERED_NAMES)]
            many = [b"many.%d%s 1 1" % (number, b";t=1;s=2" if number % 3 == 1 else b"") for number in range(300)]
            await self.send(b"\n".join([*some, *many, b""]))
            await until(lambda: self.total() == len(some) + len(many))
            self.assertEqual(self.sinks["d0"].lines, [*some, *(line.replace(b"t=1;s=2", b"s=2;t=1") for line in many)])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_names_that_somebody_looks_at_are_remembered(self) -> Any:
        async def run() -> None:
            stages, look = StagesConfig(blacklist=("secret",)), FilterRule(kind="prefix", pattern="x", action="reject")
            two, by_regex = (self.group(), self.group(members=("d1",))), LineConfig(format="regex", regex="(?P<Key>a)")
            given: list[tuple[bool, dict[str, Any]]] = [
                (True, {}),
                (False, {"stages": stages}),
                (False, {"relays": (RelayConfig(filters=(look,), groups=(self.group(),)),)}),
                (False, {"relays": (RelayConfig(groups=two),)}),
                (False, {"relays": (RelayConfig(groups=(self.group(input_filter="a"),)),)}),
                (False, {"relays": (RelayConfig(sample_share=0.5, groups=(self.group(),)),)}),
                (False, {"relays": (RelayConfig(lines=by_regex, groups=two[:1]),)}),
            ]
            config = self.relay()
            daemon = await self.start(config)
            for shared, changes in given:
                if changes:
                    await self.change(daemon, replace(config, **changes))
                chain = daemon.chains.chain(targets_of(daemon.config, daemon.config.listeners[0]))
                self.assertEqual(chain.arcs is not None, shared, changes)
            await self.stop_all()
            daemon = await self.start(self.relay(RelayConfig(lines=LineConfig(format="statsd"), groups=two[:1])))
            self.assertIs(daemon.chains.chain(("relay",)).arcs, None)

        return ensureDeferred(run())

    def test_every_group_gets_every_line(self) -> Any:
        async def run() -> None:
            groups = (self.group(), self.group(method="failover", prefix="copy.", members=("d2", "d1")))
            config = self.relay(RelayConfig(groups=groups))
            daemon = await self.start(config)
            await self.send(LINES)
            await until(lambda: self.total() == 600)
            wanted = self.placed(config, groups[0])
            copies = [line for line in self.sinks["d2"].lines if line.startswith(b"copy.")]
            self.assertEqual(copies, [b"copy." + line for line in LINES.splitlines()])
            self.assertEqual([x for x in self.sinks["d2"].lines if not x.startswith(b"copy.")], wanted["d2"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_filters_reject_and_redirect(self) -> Any:
        async def run() -> None:
            filters = (
                FilterRule(kind="prefix", pattern="bad.", action="reject"),
                FilterRule(kind="substring", pattern="away", action="redirect", relay="other"),
            )
            here = RelayConfig(name="here", filters=filters, groups=(self.group(members=("d0",)),))
            other = RelayConfig(name="other", groups=(self.group(members=("d1",)),))
            daemon = await self.start(self.relay(here, other))
            await self.send(b"bad.x 1 1\na 1 1\nb.away 1 1\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(self.got(), {"d0": [b"a 1 1"], "d1": [b"b.away 1 1"], "d2": []})
            self.assertEqual(daemon.telemetry.account("sections here").dropped, {"rejected": 1})
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_redirected_lines_have_numbers_where_these_are_wanted(self) -> Any:
        async def run() -> None:
            self.sinks["d1"].protocol = _Bytes
            look = FilterRule(kind="prefix", pattern="x", action="redirect", relay="other")
            first = RelayConfig(filters=(look,), groups=(self.group(members=("d0",)),))
            config = self.relay(first, RelayConfig(name="other", groups=(self.group(members=("d1",)),)))
            d0, d1, d2 = config.destinations
            daemon = await self.start(replace(config, destinations=(d0, replace(d1, protocol="pickle"), d2)))
            await self.send(b"x 1.5 100\ny 2 200\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(self.sinks["d0"].lines, [b"y 2 200"])
            self.assertEqual(loads(self.sinks["d1"].lines[0][4:]), [("x", (100.0, 1.5))])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_rewritten_names_keep_the_text_of_their_numbers(self) -> Any:
        async def run() -> None:
            stages = StagesConfig(rewrite=(RewriteRule("^old", "new"),), blacklist=("secret",))
            daemon = await self.start(self.relay(RelayConfig(groups=(self.group(members=("d0",)),)), stages=stages))
            await self.send(b"old.a 1.50 100.0\nsecret.a 1 1\nplain 2e0 7\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(self.sinks["d0"].lines, [b"new.a 1.50 100.0", b"plain 2e0 7"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_statsd_lines_and_the_commands_of_statsrelay(self) -> Any:
        async def run() -> None:
            lines = LineConfig(format="statsd", status_commands=True)
            group = self.group(method="shards", members=("d0", "d1", "d0", "d1"))
            daemon = await self.start(self.relay(RelayConfig(lines=lines, groups=(group,))))
            await self.send(b"foo:1|c\nbanana:2|ms|@0.1\nbad:x|c\n")
            await until(lambda: self.total() == 2)
            assert daemon.relayed is not None
            self.assertEqual(daemon.relayed.answer(b"shards"), b"d0\nd1\nd0\nd1\n")
            told = daemon.relayed.answer(b"status").decode().splitlines()
            for line in (
                "global invalid_lines gauge 1", "global total_connections gauge 1", "group:0 relayed_lines gauge 2",
                "backend:d1 relayed_lines gauge 2", "backend:d1 bytes_sent gauge 25",
                "backend:d0 dropped_lines gauge 0",
            ):  # fmt: skip
                self.assertIn(line, told)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_refused_names_are_no_keys_of_flood_control(self) -> Any:
        async def run() -> None:
            sampling = SamplingConfig(counters=FloodConfig(threshold=2, window_s=60, cardinality=1))
            group = self.group(method="shards", members=("d0",), sampling=sampling, input_blacklist="^no")
            lines = LineConfig(format="statsd", status_commands=True)
            daemon = await self.start(self.relay(RelayConfig(lines=lines, groups=(group,))))
            await self.send(b"no:1|c\n" * 5 + b"a:1|c\nb:1|c\n")
            await until(lambda: self.total() == 1)
            assert daemon.relayed is not None
            told = daemon.relayed.answer(b"status").decode().splitlines()
            for line in ("flagged_lines gauge 1", "relayed_lines gauge 1", "rejected_lines gauge 5"):
                self.assertIn(f"group:0 {line}", told)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_floods_are_sampled_and_nothing_is_kept_back_at_the_end(self) -> Any:
        async def run() -> None:
            sampling = SamplingConfig(counters=FloodConfig(threshold=2, window_s=60))
            group = self.group(method="shards", members=("d0",), sampling=sampling, suffix=".s")
            daemon = await self.start(self.relay(RelayConfig(lines=LineConfig(format="statsd"), groups=(group,))))
            await self.send(b"a:1|c\n" * 10 + b"b:1|c\n")
            await until(lambda: self.total() == 3)
            await self.stop_all()
            self.assertEqual(self.sinks["d0"].lines, [b"a.s:1|c", b"a.s:1|c", b"b.s:1|c", b"a.s:1|c|@0.125"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_own_metrics_and_pickles_get_lines(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay(RelayConfig(groups=(self.group(members=("d0",)),))))
            daemon.emitter.emit([("own.cpu", 1.5), ("own.memory", 3e6)], 1700000000.0)
            await until(lambda: self.total() == 2)
            self.assertEqual(self.sinks["d0"].lines, [b"own.cpu 1.5 1700000000", b"own.memory 3000000 1700000000"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_names_that_would_break_a_line_are_dropped(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay(RelayConfig(groups=(self.group(members=("d0",)),))))
            daemon.emitter.emit([("own cpu", 1.0), ("x 1 1\nown", 2.0), ("own.cpu", 3.0)], 1700000000.0)
            await until(lambda: self.total() == 1)
            self.assertEqual(self.sinks["d0"].lines, [b"own.cpu 3 1700000000"])
            self.assertEqual(daemon.telemetry.account("router relay").dropped, {"name": 2})
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_lines_have_rounded_times_where_that_is_wanted(self) -> Any:
        async def run() -> None:
            group = self.group(members=("d0",))
            rounded = StagesConfig(min_resolution_s=60)
            daemon = await self.start(self.relay(RelayConfig(groups=(group,)), stages=rounded))
            await self.send(b"a 1.50 1700000059\r\nb  2 -61\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(self.sinks["d0"].lines, [b"a 1.5 1700000040", b"b 2 -120"])
            self.balanced(daemon)
            await self.stop_all()
            affix = self.group(members=("d0",), prefix="p.")
            await self.start(self.relay(RelayConfig(groups=(affix,)), stages=rounded))
            await self.send(b"a 1.50 1700000059\n")
            await until(lambda: self.total() == 3)
            self.assertEqual(self.sinks["d0"].lines[2], b"p.a 1.50 1700000059")

        return ensureDeferred(run())

    def test_a_dynamic_router_passes_over_who_was_tried_in_vain(self) -> Any:
        async def run() -> None:
            group = self.group(dynamic=True, dynamic_max_retries=2)
            daemon = await self.start(self.relay(RelayConfig(groups=(group,))))
            assert daemon.relayed is not None
            relayed, lost = daemon.relayed, daemon.relayed.destinations["d0"]
            await until(lambda: all(each.connected for each in relayed.destinations.values()))
            await self.sinks["d0"].close()
            await until(lambda: lost.failed_attempts > 0)
            self.assertEqual(relayed.live(group), ["d1", "d2"])
            await self.send(LINES)
            await until(lambda: self.total() == 300)
            self.sinks["d0"].open()
            await until(lambda: lost.connected)
            self.assertEqual((relayed.live(group), self.sinks["d0"].lines), (["d0", "d1", "d2"], []))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_failover_goes_to_the_next_and_back(self) -> Any:
        async def run() -> None:
            group = self.group(method="failover", members=("d0", "d1"))
            once = QueueConfig(resend_window_s=0.0, resend_window_bytes=0)
            daemon = await self.start(self.relay(RelayConfig(groups=(group,)), queue=once))
            await self.send(b"a 1 1\n")
            await until(lambda: self.total() == 1)
            await self.sinks["d0"].close()
            assert daemon.relayed is not None
            destination = daemon.relayed.destinations["d0"]
            await until(lambda: destination.failed_attempts > 0)
            await self.send(b"a 2 2\n")
            await until(lambda: self.total() == 2)
            self.sinks["d0"].open()
            await until(lambda: destination.connected)
            await self.send(b"a 3 3\n")
            await until(lambda: self.total() == 3)
            self.assertEqual(self.got(), {"d0": [b"a 1 1", b"a 3 3"], "d1": [b"a 2 2"], "d2": []})
            self.balanced(daemon)

        return ensureDeferred(run())


class _Unprepared:
    """A stage that fails when it is to decide about names."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage

    def prime(self, *_: object) -> None:
        raise ZeroDivisionError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


class ChangeTests(RelayCase):
    """Reloads, ends and heirs."""

    def test_numbers_are_read_as_soon_as_somebody_wants_them(self) -> Any:
        async def run() -> None:
            only = RelayConfig(groups=(self.group(members=("d0",)),))
            config = self.relay(only)
            as_pickles = tuple(replace(each, protocol="pickle") for each in config.destinations)
            daemon = await self.start(config)
            await self.send(b"a 1.5 100\n")
            await until(lambda: self.total() == 1)
            self.sinks["d0"].protocol = _Bytes
            await self.change(daemon, replace(config, destinations=as_pickles))
            await self.send(b"a 2.5 200\nb 3.5 300\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(loads(self.sinks["d0"].lines[1][4:]), [("a", (200.0, 2.5)), ("b", (300.0, 3.5))])
            self.balanced(daemon)
            self.sinks["d0"].protocol = _Lines
            await self.change(daemon, config)
            await self.send(b"c 4.5 400\n")
            await until(lambda: self.total() == 3)
            self.assertEqual(self.sinks["d0"].lines[2], b"c 4.5 400")
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_relay_may_get_another_name(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay(RelayConfig(groups=(self.group(members=("d0",)),))))
            await self.send(b"a 1 1\n")
            await until(lambda: self.total() == 1)
            await self.change(daemon, self.relay(RelayConfig(name="other", groups=(self.group(members=("d1",)),))))
            await self.send(b"a 2 2\n")
            await until(lambda: self.total() == 2)
            self.assertEqual(self.sinks["d1"].lines, [b"a 2 2"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_lines_of_another_kind_need_a_restart(self) -> Any:
        async def run() -> None:
            graphite, statsd = RelayConfig(groups=(self.group(),)), LineConfig(format="statsd")
            for first, second, line in (
                (graphite, replace(graphite, lines=statsd), b"a 1 1"),
                (replace(graphite, lines=statsd), graphite, b"a:1|c"),
            ):
                daemon = await self.start(self.relay(first))
                before, sent = daemon.chains, self.total()
                daemon.change(self.relay(second))
                await self.send(line + b"\n")
                await until(lambda: self.total() == sent + 1)  # noqa: B023 (called before the next turn of the loop)
                self.assertIs(daemon.chains, before)
                await self.change(daemon, self.relay(replace(first, groups=(self.group(members=("d2",)),))))
                await self.send(line + b"\n")
                await until(lambda: self.sinks["d2"].lines[-1:] == [line])  # noqa: B023
                self.balanced(daemon)
                await self.stop_all()

        return ensureDeferred(run())

    def test_a_reload_that_changes_the_ring_keeps_what_waits(self) -> Any:
        async def run() -> None:
            old = self.relay(RelayConfig(groups=(self.group(members=("d0", "d1")),)))
            daemon = await self.start(old)
            await self.sinks["d0"].close()
            await self.send(LINES)
            await until(lambda: len(self.sinks["d1"].lines) + daemon.telemetry.account("destination d0").held() == 300)
            new = self.relay(RelayConfig(groups=(self.group(),)))
            before = daemon.chains
            daemon.change(new)
            await until(lambda: daemon.chains is not before)
            await self.send(LINES)
            self.sinks["d0"].open()
            await until(lambda: self.total() == 600)
            old_places = self.placed(old, self.group(members=("d0", "d1")))
            new_places = self.placed(new, self.group())
            for name, sink in self.sinks.items():
                self.assertEqual(sorted(sink.lines), sorted(old_places[name] + new_places[name]))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_new_address_inherits_what_waited_for_the_old_one(self) -> Any:
        async def moved(queue: QueueConfig) -> None:
            old = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)), queue=queue)
            await self.sinks["d0"].close()
            daemon = await self.start(old)
            await self.send(LINES)
            await until(lambda: self.held(daemon)["d0"] == 300)
            first, *others = old.destinations
            new = replace(old, destinations=(replace(first, path=self.sinks["d1"].path), *others))
            before = daemon.chains
            daemon.change(new)
            await self.send(b"between 1 1\n")
            await until(lambda: daemon.chains is not before)
            await self.send(b"after 1 1\n")
            await until(lambda: len(self.sinks["d1"].lines) == 302)
            wanted = [*LINES.splitlines(), b"between 1 1", b"after 1 1"]
            self.assertEqual(sorted(self.sinks["d1"].lines), sorted(wanted))
            await self.stop_all()
            self.balanced(daemon)
            self.sinks["d1"].lines.clear()

        async def run() -> None:
            await moved(QueueConfig(resend_window_s=0.0))
            await moved(QueueConfig(resend_window_s=0.0, spool_bytes=1 << 20))

        return ensureDeferred(run())

    def test_a_new_address_has_its_spool_again_after_a_restart(self) -> Any:
        async def run() -> None:
            queue = QueueConfig(resend_window_s=0.0, spool_bytes=1 << 20, drain_s=0.1)
            old = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)), queue=queue)
            for sink in self.sinks.values():
                await sink.close()
            daemon = await self.start(old)
            first, *others = old.destinations
            new = replace(old, destinations=(replace(first, path=self.sinks["d1"].path), *others))
            before = daemon.chains
            daemon.change(new)
            await until(lambda: daemon.chains is not before)
            await self.send(LINES)
            await until(lambda: daemon.telemetry.account("names").received == 300)
            await self.stop_all()
            self.assertIn("d0~1", os.listdir(new.spool.directory))
            self.sinks["d1"].open()
            again = await self.start(new)
            await until(lambda: len(self.sinks["d1"].lines) == 300)
            await until(lambda: "d0~1" not in os.listdir(new.spool.directory))
            self.balanced(again)

        return ensureDeferred(run())

    def test_what_waits_in_another_form_is_not_for_the_new_protocol(self) -> Any:
        """Lines wait while a destination is away; it comes to take pickles, and later lines again."""

        async def run() -> None:
            queue = QueueConfig(resend_window_s=0.0, spool_bytes=1 << 20, drain_s=0.1)
            lines = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)), queue=queue)
            await self.sinks["d0"].close()
            daemon = await self.start(lines)
            await self.send(LINES)
            await until(lambda: daemon.telemetry.account("destination d0").held() == 300)
            first, *others = lines.destinations
            pickles = replace(lines, destinations=(replace(first, protocol="pickle"), *others))
            await self.change(daemon, pickles)
            await self.send(b"new.pickled 1 1\n")
            self.sinks["d0"].open()
            await until(lambda: sum(account.out for account in self.books(daemon)) == 1)
            self.balanced(daemon)
            await self.stop_all()
            self.assertNotIn(LINES.splitlines()[0], self.sinks["d0"].lines)
            self.assertLessEqual({"d0", "d0=pickle"}, set(os.listdir(lines.spool.directory)))
            again = await self.start(lines)
            await until(lambda: self.sinks["d0"].lines[-300:] == LINES.splitlines())
            self.balanced(again)

        return ensureDeferred(run())

    def test_an_heir_by_address_is_none_once_its_protocol_changes(self) -> Any:
        """The second reload comes before the first one's rules are in force."""

        async def run() -> None:
            queue = QueueConfig(resend_window_s=0.0, spool_bytes=1 << 20, drain_s=0.1)
            old = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)), queue=queue)
            await self.sinks["d0"].close()
            daemon = await self.start(old)
            await self.send(LINES)
            await until(lambda: daemon.telemetry.account("destination d0").held() == 300)
            first, *others = old.destinations
            moved = replace(first, path=self.sinks["d1"].path)
            daemon.change(replace(old, destinations=(moved, *others)))
            await self.change(daemon, replace(old, destinations=(replace(moved, protocol="pickle"), *others)))
            await self.send(b"new.pickled 1 1\n")
            await until(lambda: sum(account.out for account in self.books(daemon)) == 1)
            await self.stop_all()
            self.assertNotIn(LINES.splitlines()[0], self.sinks["d1"].lines)
            self.balanced(daemon)

        return ensureDeferred(run())

    def books(self, daemon: Daemon) -> list[Account]:
        return [each for each in daemon.telemetry.accounts.values() if each.name.startswith("destination d0")]

    def test_what_a_replaced_or_unwanted_destination_has_is_waited_for_or_passed_on(self) -> Any:
        """A hand-over may begin while new rules are being prepared, or while the old address still drains."""

        async def run(swapped: bool) -> None:
            old = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)))
            daemon = await self.start(old)
            await self.send(LINES)
            await until(lambda: self.held(daemon)["d0"] == 300)
            first, *others = old.destinations
            new = replace(old, destinations=(replace(first, path=self.sinks["d1"].path), *others))
            before = daemon.chains
            daemon.change(new)
            if swapped:
                await until(lambda: daemon.chains is not before)
            passed = daemon.pass_on()
            daemon.leave()
            self.daemons.remove(daemon)
            daemon.stop_changing()
            await daemon.service.stopService()
            self.balanced(daemon)
            passed += daemon.remains()
            chunks = [thing for thing in passed if thing.kind == "chunk"]
            self.assertEqual((sum(chunk.points for chunk in chunks), {chunk.key for chunk in chunks}), (300, {"d0"}))
            Inheritance(passed).close()
            os.unlink(self.door)

        async def both() -> None:
            await self.sinks["d0"].close()
            await self.sinks["d1"].close()
            await run(swapped=False)
            await run(swapped=True)

        return ensureDeferred(both())

    def test_an_unwanted_destination_may_come_back_while_it_drains(self) -> Any:
        async def run() -> None:
            queue = QueueConfig(resend_window_s=0.0, spool_bytes=1 << 20, drain_s=30.0)
            config = self.relay(queue=queue)
            daemon = await self.start(config)
            graph = daemon.relayed
            assert graph is not None
            old = graph.destinations["d0"]
            await until(lambda: old.connected)
            for connection in self.sinks["d0"].connections:
                connection.transport.pauseProducing()
            for _ in range(40):
                old.send(b"big 1 1\n" * 4000, 4000)
            less = replace(
                config,
                relays=(RelayConfig(groups=(self.group(members=("d1",)),)),),
                destinations=config.destinations[1:],
            )
            before = daemon.chains
            daemon.change(less)
            await until(lambda: daemon.chains is not before)
            before = daemon.chains
            daemon.change(config)
            await until(lambda: daemon.chains is not before)
            present = graph.destinations["d0"]
            self.assertIsNot(present, old)
            self.assertNotEqual(present.spool.backlog.folder, old.spool.backlog.folder)
            for connection in self.sinks["d0"].connections:
                connection.transport.resumeProducing()
            await until(lambda: len(self.sinks["d0"].lines) == 160000)

        return ensureDeferred(run())

    def test_rules_that_cannot_be_prepared_leave_the_old_ones(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay())
            assert daemon.relayed is not None
            made, broken = daemon.relayed.make_router, []

            def make_router(*given: Any) -> Any:
                stage = made(*given)
                broken.append(stage)
                return _Unprepared(stage)

            await self.send(LINES)
            await until(lambda: self.total() == 300)
            daemon.relayed.make_router = make_router  # type: ignore[method-assign]
            before = daemon.chains
            daemon.change(self.relay(RelayConfig(groups=(self.group(members=("d0",)),))))
            await until(lambda: self.flushLoggedErrors(ZeroDivisionError))
            self.assertIs(daemon.chains, before)
            daemon.relayed.make_router = made  # type: ignore[method-assign]
            daemon.change(self.relay(RelayConfig(groups=(self.group(members=("d1",)),))))
            await until(lambda: daemon.chains is not before)
            await self.send(LINES)
            await until(lambda: len(self.sinks["d1"].lines) >= 300)

        return ensureDeferred(run())

    def test_a_destination_that_is_no_longer_wanted_goes_in_order(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.relay())
            await self.send(LINES)
            await until(lambda: self.total() == 300)
            new = self.relay(RelayConfig(groups=(self.group(members=("d0",)),)))
            new = replace(new, destinations=new.destinations[:1])
            daemon.change(new)
            assert daemon.relayed is not None
            destinations = daemon.relayed.destinations
            await until(lambda: list(destinations) == ["d0"])
            await self.send(LINES)
            await until(lambda: self.total() == 600)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_stop_leaves_what_waits_in_the_spool(self) -> Any:
        async def run() -> None:
            config = self.relay(queue=QueueConfig(spool_bytes=1 << 20, drain_s=0.1))
            for sink in self.sinks.values():
                await sink.close()
            daemon = await self.start(config)
            await self.send(LINES)
            await until(lambda: sum(self.held(daemon).values()) == 300)
            await self.stop_all()
            self.balanced(daemon)
            for sink in self.sinks.values():
                sink.open()
            again = await self.start(config)
            await until(lambda: self.total() == 300)
            self.assertEqual({n: sorted(x) for n, x in self.got().items()},
                             {n: sorted(x) for n, x in self.placed(config, self.group()).items()})  # fmt: skip
            await until(lambda: not sum(self.held(again).values()))
            self.balanced(again)

        return ensureDeferred(run())

    def test_its_memory_is_that_of_all_queues(self) -> Any:
        async def run() -> None:
            for sink in self.sinks.values():
                await sink.close()
            daemon = await self.start(self.relay(queue=QueueConfig(spool_bytes=0, resend_window_s=0.1)))
            relayed = daemon.relayed
            assert relayed is not None
            self.assertEqual(relayed.memory_bytes(), 0)
            await self.send(LINES)
            await until(lambda: relayed.memory_bytes() == len(LINES))
            for sink in self.sinks.values():
                sink.open()
            await until(lambda: self.total() == 300 and relayed.memory_bytes() == 0)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_what_waits_in_memory_goes_to_the_next_process(self) -> Any:
        async def run() -> None:
            config = self.relay()
            await self.sinks["d1"].close()
            daemon = await self.start(config)
            await self.send(LINES)
            await until(lambda: self.total() + self.held(daemon)["d1"] == 300)
            passed = daemon.pass_on()
            daemon.leave()
            self.daemons.remove(daemon)
            await daemon.service.stopService()
            self.balanced(daemon)
            passed += daemon.remains()
            self.assertEqual({thing.key for thing in passed if thing.kind == "chunk"}, {"d1"})
            self.sinks["d1"].open()
            heir = Daemon(reactor, config, Inheritance(passed))
            heir.service.startService()
            self.daemons.append(heir)
            await until(lambda: self.total() == 300)
            await self.send(b"after 1 1\n")
            await until(lambda: self.total() == 301)
            self.balanced(heir)

        return ensureDeferred(run())

    def held(self, daemon: Daemon) -> dict[str, int]:
        return {name: daemon.telemetry.account(f"destination {name}").held() for name in self.sinks}


class NameTests(RelayCase):
    """Small functions of the composition."""

    def test_spool_folders_stay_below_the_spool(self) -> None:
        self.assertEqual(spool_folder("10.0.0.1:2004:a", "line"), "10.0.0.1%3a2004%3aa")
        self.assertEqual(spool_folder("../../etc", "line"), "%2e%2e%2f%2e%2e%2fetc")
        self.assertEqual((spool_folder("", "line"), spool_folder("a=b", "pickle")), ("%", "a%3db=pickle"))

    def test_labels_and_targets(self) -> None:
        relay = RelayConfig(name="r", groups=(self.group(), self.group(name="x")))
        self.assertEqual([group_label(relay, n) for n in (0, 1)], ["r.0", "r.x"])
        self.assertEqual(targets_of(self.relay(relay), Listener(protocol="line")), ("r",))
        self.assertNotEqual(GRAPHITE, KEYS)

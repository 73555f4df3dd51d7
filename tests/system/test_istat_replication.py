"""Replicas of counter daemons, as processes: their stores end byte by byte as their master's, whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from tests.seeds import chance_of
from tests.system.case import SystemTestCase
from tests.system.counterd import Counterd
from tests.system.process import until

COUNTERS = 60


def files_of(store: Path) -> dict[str, bytes]:
    """Return every file of a store by its path."""
    found = {}
    for folder, folders, files in os.walk(store):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            with contextlib.suppress(FileNotFoundError):
                found[str(path.relative_to(store))] = path.read_bytes()
    return found


class ReplicationTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.random = chance_of(self.id())
        self.master = Counterd("master", self.folder / "master", {"flush": 2})
        self.master.options["replica-port"] = self.master.replica
        self.replica = Counterd(
            "replica", self.folder / "replica", {"replica-of": f"127.0.0.1:{self.master.replica}", "flush": 2}
        )

    def load(self, n: int = 1, counters: int = COUNTERS) -> None:
        """Send the master gauges and events of now, and some old ones."""
        now = int(time.time())
        for turn in range(n):
            lines = []
            for number in range(counters):
                value = self.random.randrange(1000)
                lines.append(f"site.web{number % 7}.gauge{number} {now - self.random.randrange(3000)} {value}")
                lines.append(f"*site.web{number % 7}.event{number} {value}")
            self.master.send([*lines, f"turn {turn}"])

    def in_step(self, daemon: Counterd | None = None) -> bool:
        with contextlib.suppress(OSError):
            return "replicaOf.inStep=1" in (daemon or self.replica).order("stats")
        return False

    def wait_in_step(self) -> None:
        self.replica.until("the replica is in step", self.in_step, 60)

    def equal(self) -> bool:
        return files_of(self.master.store) == files_of(self.replica.store)

    def wait_equal(self) -> None:
        """Write all that the master has; then the stores are equal."""
        self.master.order("flush")
        self.wait_in_step()
        self.replica.until("the stores are equal", self.equal, 60)
        self.assertGreater(len(files_of(self.master.store)), 3 * COUNTERS)

    def test_an_empty_store(self) -> None:
        self.started(self.master)
        self.load(3)
        self.master.order("flush")
        self.load()
        self.started(self.replica)
        self.wait_in_step()
        self.load(2)
        self.master.send(["brand.new.counter 5", "*brand.new.event 7"])
        self.wait_equal()
        listed = {found["name"]: found["type"] for found in self.replica.get("/?q=*")["matching_names"]}
        self.assertEqual(listed, {found["name"]: found["type"] for found in self.master.get("/?q=*")["matching_names"]})
        self.assertIn("replicaServer.current=1", self.master.order("stats"))

    def test_a_replica_answers_as_its_master_before_anything_is_written(self) -> None:
        self.master.options["flush"] = self.replica.options["flush"] = 300
        self.started(self.master)
        self.load()
        self.started(self.replica)
        self.wait_in_step()
        self.load()
        keys = [f"site.web{number % 7}.{kind}{number}" for number in range(COUNTERS) for kind in ("gauge", "event")]
        now = int(time.time())
        asked = {"keys": keys, "start": now - 3000, "stop": now + 20, "maxSamples": 1000}
        self.replica.until("answers are equal", lambda: self.master.post("/*", asked) == self.replica.post("/*", asked))
        self.assertGreater(len(self.replica.post("/*", asked)["site.web0.gauge0"]["data"]), 0)

    def test_half_a_store_and_one_that_went_its_own_way(self) -> None:
        self.started(self.master)
        self.load(2)
        self.master.stop()
        shutil.copytree(self.master.store, self.replica.store)
        alone = Counterd("alone", self.folder / "replica")
        self.started(alone)
        now = int(time.time())
        alone.send([f"site.web1.gauge1 {now} 99", "of.its.own 1", "site.web2.more 5", "*site.web3.event3 8"])
        alone.stop()
        shutil.rmtree(self.replica.store / "site" / "web4")
        (self.replica.store / "site" / "web5" / "gauge5" / "10s").unlink()
        with (self.replica.store / "site" / "web6" / "gauge6" / "5m").open("r+b") as file:
            file.seek(9000)
            file.write(b"damage")
        os.truncate(self.replica.store / "site" / "web0" / "gauge7" / "10s", 5000)
        self.master.start()
        self.load()
        self.started(self.replica)
        self.wait_equal()
        self.assertTrue((self.folder / "replica" / "store.bak" / "of" / "its" / "own" / "10s").exists())
        names = [found["name"] for found in self.replica.get("/?q=*")["matching_names"]]
        self.assertNotIn("of.its.own", names)
        self.assertIn("site.web4.gauge4", names)

    def test_kills_of_either(self) -> None:
        self.started(self.master)
        self.load(2, 300)
        self.started(self.replica)
        for turn in range(self.number("CADTWIST_KILLS", 6)):
            self.load(2, 300)
            victim = self.replica if turn % 2 == 0 else self.master
            if turn > 1:
                self.wait_in_step()
                self.load(1, 300)
            time.sleep(self.random.random() / 2)
            victim.signal(signal.SIGKILL)
            until("it is dead", lambda victim=victim: not victim.alive())
            victim.start()
        self.load()
        self.wait_equal()
        self.assertNotIn("Traceback", self.replica.log.read_text())
        self.assertNotIn("Traceback", self.master.log.read_text())

    def test_a_short_absence_is_made_up_for_without_a_comparison(self) -> None:
        self.started(self.master)
        self.load(2)
        self.started(self.replica)
        self.wait_equal()
        self.replica.signal(signal.SIGKILL)
        until("it is dead", lambda: not self.replica.alive())
        self.load(2)
        self.master.send(["while.away 1"])
        self.master.order("flush")
        self.replica.start()
        self.wait_equal()
        self.assertIn("goes on", self.replica.log.read_text())
        self.assertEqual(self.replica.log.read_text().count("is compared with"), 1)

    def test_what_is_deleted_and_what_a_replica_refuses(self) -> None:
        self.started(self.master)
        self.started(self.replica)
        self.load()
        self.wait_equal()
        self.master.order("delete.pattern site.web1.*")
        self.replica.send(["a.sample.of.its.own 1"])
        self.replica.order("delete.ctr site.web2.gauge2")
        self.wait_equal()
        names = [found["name"] for found in self.replica.get("/?q=*")["matching_names"]]
        self.assertFalse([name for name in names if "web1." in name or name.startswith("a.sample")])
        self.assertIn("site.web2.gauge2", names)

    def test_a_replica_takes_its_masters_place_with_all_that_it_was_told(self) -> None:
        self.master.options["flush"] = 300
        self.started(self.master)
        self.load()
        self.started(self.replica)
        self.wait_in_step()
        now = int(time.time()) // 10 * 10
        self.master.send([f"last.words {now} 41", f"last.words {now} 1"])
        self.replica.until("it was told", lambda: self.replica.sums("last.words", now, now + 10) == {now: 42})
        self.master.signal(signal.SIGKILL)
        self.replica.stop()
        heir = Counterd("heir", self.folder / "replica")
        self.started(heir)
        self.assertEqual(heir.sums("last.words", now, now + 10), {now: 42})
        heir.send([f"last.words {now} 8"])
        heir.order("flush")
        self.assertEqual(heir.sums("last.words", now, now + 10), {now: 50})

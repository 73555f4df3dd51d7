"""Which shards keep a counter."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.shard import Shard, parse_shard
from cadtwist.routing.shards import ShardMap

NAMES = [b"site.web%d.cpu%d" % (number % 50, number) for number in range(3000)]


def shards(*names: str) -> list[Shard]:
    return [Shard(name, "h", 1, 2) for name in names]


class MapTests(SynchronousTestCase):
    def test_all_keep_a_share_and_agree(self) -> None:
        one = ShardMap(shards("a", "b", "c"), "a")
        other = ShardMap(shards("c", "b", "a"), "b")
        kept = Counter(one.keepers(name)[0] for name in NAMES)
        self.assertEqual(sorted(kept), ["a", "b", "c"])
        self.assertGreater(min(kept.values()), len(NAMES) / 6)
        self.assertTrue(all(one.keepers(name) == other.keepers(name) for name in NAMES))

    def test_one_more_moves_little(self) -> None:
        before, after = ShardMap(shards("a", "b", "c")), ShardMap(shards("a", "b", "c", "d"))
        moved = [name for name in NAMES if before.keepers(name) != after.keepers(name)]
        self.assertLess(len(moved), len(NAMES) * 0.45)
        self.assertEqual({after.keepers(name) for name in moved}, {("d",)})

    def test_spelling_does_not_count(self) -> None:
        for spelling in (b"*Site.Web1.CPU", b"site.web1.cpu", b"site..web1.cpu."):
            self.assertEqual(ShardMap(shards("a", "b", "c")).keepers(spelling),
                             ShardMap(shards("a", "b", "c")).keepers(b"site.web1.cpu"))  # fmt: skip

    def test_copies(self) -> None:
        three = ShardMap(shards("a", "b", "c"), "b", copies=2)
        self.assertTrue(all(len(set(three.keepers(name))) == 2 for name in NAMES))
        asked = [three.asked(name) for name in NAMES]
        self.assertTrue(all(each[0] == "b" for each in asked if "b" in each))
        self.assertEqual([set(each) for each in asked], [set(three.keepers(name)) for name in NAMES])
        self.assertEqual(ShardMap(shards("a", "b"), copies=9).copies, 2)

    def test_what_a_daemon_says_of_itself_stays(self) -> None:
        self.assertEqual(ShardMap(shards("a", "b"), "b").keepers(b"*istatd.counter.created"), ("b",))
        self.assertEqual(ShardMap(shards("a", "b")).keepers(b"istatd.counter.created"), ())

    def test_others(self) -> None:
        self.assertEqual([shard.name for shard in ShardMap(shards("a", "b", "c"), "b").others], ["a", "c"])


class TextTests(SynchronousTestCase):
    def test_texts(self) -> None:
        self.assertEqual(parse_shard("a.1=host:1,2"), Shard("a.1", "host", 1, 2))
        self.assertEqual(parse_shard("a=[::1]:1,2").url, "http://[::1]:2")
        self.assertEqual(parse_shard("a=10.0.0.1:1,80").url, "http://10.0.0.1:80")

    def test_what_is_none(self) -> None:
        for text in (
            "",
            "a",
            "a=b",
            "a=b:1",
            "a=b:1,1",
            "a=b:0,1",
            "a=b:1,99999",
            "a/b=c:1,2",
            "=c:1,2",
            "a=:1,2",
            "a=b:1,2,3",
        ):
            with self.assertRaises(ValueError, msg=text):
                parse_shard(text)

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, given
from hypothesis import settings as settled
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.storage.settings import MOST_BYTES, FileSettings, RedisSettings, parse_settings, settings_text

T = TypeVar("T")


class TextTests(SynchronousTestCase):
    def test_writes_what_istatd_writes(self) -> None:
        text = settings_text({"b": "x%_y'\"z\\", "a": "\0\b\t\n\r\x1a", "c": ""})
        lines = ["# istatd settings 1", r"a=\0\b\t\n\r\Z", r"b=x\%\_y\'\"z\\", "c=", ""]
        self.assertEqual(text, "\n".join(lines))

    def test_reads_files_made_by_hand(self) -> None:
        text = "# istatd settings 1\n\n# comment=5\n key = some value \nno equals\n=nameless\na=1=2\nend\\"
        self.assertEqual(parse_settings(text), {"key": "some value", "a": "1=2"})

    @given(st.dictionaries(st.from_regex(r"[a-z._]{1,10}", fullmatch=True), st.text(max_size=30)))
    def test_reads_back(self, values: dict[str, str]) -> None:
        expected = {key: value.strip() for key, value in values.items()}
        self.assertEqual(parse_settings(settings_text(values)), expected)


class SettingsCase(SynchronousTestCase):
    def result(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))


class FileSettingsTests(SettingsCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.settings = FileSettings(self.folder)
        self.settings.load_all()

    def content(self, name: str) -> str:
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def test_a_change_waits_until_it_is_saved(self) -> None:
        self.result(self.settings.put("global", {"a": "1", "b": "2"}))
        self.assertEqual((self.settings.dirty, os.listdir(self.folder)), (True, []))
        self.settings.save()
        self.assertEqual(self.content("global.set"), "# istatd settings 1\na=1\nb=2\n")
        self.assertEqual((self.settings.dirty, os.listdir(self.folder)), (False, ["global.set"]))

    def test_an_empty_value_deletes(self) -> None:
        self.result(self.settings.put("x", {"a": "1", "b": "2"}))
        self.result(self.settings.put("x", {"a": "", "none": ""}))
        self.assertEqual(self.result(self.settings.get("x")), {"b": "2"})

    def test_what_is_not_there(self) -> None:
        self.assertIsNone(self.result(self.settings.get("none")))
        self.result(self.settings.put("empty", {}))
        self.assertEqual(self.result(self.settings.get("empty")), {})

    def test_start_reads_every_set(self) -> None:
        for number in range(20):
            self.write(f"s{number}.set", f"# istatd settings 1\nkey={number}\n")
        self.write("other.txt", "a=1")
        fresh = FileSettings(self.folder)
        self.assertEqual(fresh.load_all(), 20)
        self.assertEqual(self.result(fresh.get("s7")), {"key": "7"})
        self.write("s8.set", "key=late\n")
        self.assertEqual(self.result(fresh.get("s8")), {"key": "8"}, "as it was at the start")
        fresh.load("s7")
        fresh.flush("s9")
        self.write("s9.set", "key=late\n")
        self.assertEqual(self.result(fresh.get("s9")), {"key": "late"})
        self.assertEqual(fresh.load_all(), 20)

    def test_load_merges_into_a_set_that_was_not_asked_for_yet(self) -> None:
        self.write("x.set", "a=1\nb=2\n")
        fresh = FileSettings(self.folder)
        fresh.load_all()
        self.write("x.set", "b=3\n")
        fresh.load("x")
        self.assertEqual(self.result(fresh.get("x")), {"a": "1", "b": "3"})

    def test_changes_by_hand_count_after_a_flush(self) -> None:
        self.result(self.settings.put("x", {"a": "1"}))
        self.settings.flush()
        self.write("x.set", "# istatd settings 1\na=9\nb=8\n")
        self.assertEqual(self.result(self.settings.get("x")), {"a": "9", "b": "8"})
        self.assertIsNone(self.result(self.settings.get("late")))
        self.write("late.set", "c=1\n")
        self.settings.flush("late")
        self.assertEqual(self.result(self.settings.get("late")), {"c": "1"})

    def test_a_flush_writes_only_what_changed(self) -> None:
        self.result(self.settings.put("x", {"a": "1"}))
        self.settings.save()
        self.write("x.set", "a=2\n")
        self.result(self.settings.put("y", {"b": "1"}))
        self.settings.flush()
        self.assertEqual(self.content("x.set"), "a=2\n")

    def test_load_merges_the_file_into_memory(self) -> None:
        self.result(self.settings.put("x", {"a": "1", "b": "2"}))
        self.settings.save()
        self.write("x.set", "b=3\nc=4\n")
        self.settings.load("x")
        self.settings.load("none")
        self.assertEqual(self.result(self.settings.get("x")), {"a": "1", "b": "3", "c": "4"})

    def test_refuses_long_files_and_odd_names(self) -> None:
        self.write("long.set", "a=" + "x" * MOST_BYTES)
        self.failureResultOf(Deferred.fromCoroutine(self.settings.get("long")), StorageError)
        self.failureResultOf(Deferred.fromCoroutine(self.settings.get("../up")), StorageError)
        self.assertRaises(StorageError, FileSettings(os.path.join(self.folder, "long.set")).load_all)

    def test_what_cannot_be_saved_stays_changed(self) -> None:
        self.result(self.settings.put("x", {"a": "1"}))
        os.mkdir(os.path.join(self.folder, "x.set.tmp"))
        self.assertRaises(StorageError, self.settings.save)
        self.assertTrue(self.settings.dirty)


class FakeRedis:
    """Hashes and sets in memory, answering as Redis does."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, dict[bytes, bytes]] = {}
        self.sets: dict[bytes, set[bytes]] = {}

    def ask(self, *command: bytes) -> Deferred[Any]:
        name, key, *rest = command
        hashed = self.hashes.get(key, {})
        if name == b"HGETALL":
            return succeed([part for item in hashed.items() for part in item])
        if name == b"HSET":
            self.hashes.setdefault(key, {}).update(zip(rest[::2], rest[1::2], strict=True))
        elif name == b"HDEL":
            for field in rest:
                hashed.pop(field, None)
        elif name == b"SADD":
            self.sets.setdefault(key, set()).update(rest)
        elif name == b"SISMEMBER":
            return succeed(int(rest[0] in self.sets.get(key, set())))
        else:
            raise AssertionError(command)
        return succeed(len(rest))


class RedisSettingsTests(SettingsCase):
    def test_keeps_sets_as_hashes(self) -> None:
        client = FakeRedis()
        settings = RedisSettings(client)
        self.assertIsNone(self.result(settings.get("x")))
        self.result(settings.put("x", {"a": "1", "b": "2"}))
        self.result(settings.put("x", {"a": ""}))
        self.assertEqual(client.hashes, {b"istat:settings:x": {b"b": b"2"}})
        self.assertEqual(self.result(settings.get("x")), {"b": "2"})
        self.result(settings.put("x", {"b": ""}))
        self.assertEqual(self.result(settings.get("x")), {})
        self.assertEqual((settings.dirty, settings.load_all()), (False, 0))

    def test_values_stay_the_texts_that_they_are(self) -> None:
        settings = RedisSettings(FakeRedis())
        values = {"number": "007", "float": "1.0", "text": "gr\u00fcn \\n", "{}": "{}"}
        self.result(settings.put("x", values))
        self.assertEqual(self.result(settings.get("x")), values)

    @settled(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "x y"])), max_size=5))
    def test_is_as_the_files_are(self, changes: list[dict[str, str]]) -> None:
        files, redis = FileSettings(self.mktemp()), RedisSettings(FakeRedis())
        for change in changes:
            self.result(files.put("x", change))
            self.result(redis.put("x", change))
        self.assertEqual(self.result(redis.get("x")), self.result(files.get("x")))

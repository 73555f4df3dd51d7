from __future__ import annotations

import re

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.consolidation import METHODS
from cadtwist.model.retention import AggregationRule, SchemaRule, parse_retentions
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from tests.contracts.test_store import NOW, job


class MemoryStoreTests(SynchronousTestCase):
    def test_consolidates_as_whisper_files_do(self) -> None:
        schemas = SchemaTable(
            [SchemaRule("all", re.compile(""), parse_retentions("1s:1m,10s:5m"))],
            [AggregationRule(method, re.compile(f"^{method}$"), 0.3, method) for method in METHODS],
        )
        memory, files = MemoryStore(schemas), WhisperStore(self.mktemp(), schemas)
        points = [(NOW - age, float(age * 7 % 11 - 5)) for age in range(55, -1, -1) if age % 3]
        for method in METHODS:
            series = []
            for store in (memory, files):
                store.write(job(schemas, {method: points}))
                series.append(store.fetch(method, NOW - 100, NOW, NOW))
            np.testing.assert_array_equal(series[0].values, series[1].values, method)
        files.close()

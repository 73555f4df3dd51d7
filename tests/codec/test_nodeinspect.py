"""Tests of `cadtwist.codec.nodeinspect`: texts that node 20 wrote."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.nodeinspect import inspect

COLUMNS = """{
  t: [
    0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4,
    5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2,
    3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0,
    1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5,
    6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3,
    4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1,
    2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6,
    0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4,
    5, 6, 0, 1,
    ... 3 more items
  ]
}"""
RIGHT = """{
  t: [
    980.46, 104.28,     3,
     20.13, 189.19, 73694,
       752,   1868,  8278,
    214.87
  ]
}"""
LINES = """{
  'metric.0': 0,
  'metric.1': 100000,
  'metric.2': 200000,
  'metric.3': 300000,
  'metric.4': 400000
}"""
NODE: list[tuple[Any, str]] = [
    ({}, "{}"),
    ({"a": []}, "{ a: [] }"),
    ({"glork": [320, 100], "multi.b": [2]}, "{ glork: [ 320, 100 ], 'multi.b': [ 2 ] }"),
    ({"b": 1, "12": 2, "007": 3, "4": 0.5, "it's": -1}, "{ '4': 0.5, '12': 2, b: 1, '007': 3, \"it's\": -1 }"),
    ({f"metric.{i}": i * 100000 for i in range(5)}, LINES),
    ({"t": [980.46, 104.28, 3, 20.13, 189.19, 73694, 752, 1868, 8278, 214.87]}, RIGHT),
    ({"t": [i % 7 for i in range(103)]}, COLUMNS),
    ({"k\r\x01\x7f\x9f": 1, "t\t": 2, "a\\b": 3}, r"{ 'k\r\x01\x7F\x9F': 1, 't\t': 2, 'a\\b': 3 }"),
    ({"x": -0.0, "y": 1e21, "z": 1e-7}, "{ x: -0, y: 1e+21, z: 1e-7 }"),
]


class InspectTests(SynchronousTestCase):
    def test_as_node_shows(self) -> None:
        for table, text in NODE:
            self.assertEqual(inspect(table), text)

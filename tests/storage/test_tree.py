from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.storage.tree import metric_of


class MetricOfTests(SynchronousTestCase):
    def test_paths_and_metrics(self) -> None:
        for path, metric in (
            ("a/b.wsp", "a.b"), ("a.wsp", "a"), ("a/.wsp", "a."), ("a/b", None), ("/a.wsp", None), ("../a.wsp", None),
            ("a.b/c.wsp", None), ("_tagged/1/2/x_DOT_y;a=b.wsp", "x.y;a=b"), ("_tagged/1/2/abc.wsp", "_tagged.1.2.abc"),
            ("\udcff.wsp", None),
        ):  # fmt: skip
            self.assertEqual(metric_of(path), metric, path)

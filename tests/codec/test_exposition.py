from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.exposition import LABELS, Metric, line, metrics_of, read_labels, type_line


class ExpositionTests(SynchronousTestCase):
    def test_labels_behind_carets(self) -> None:
        for raw, expected in (
            (b"cpu.idle", [("cpu_idle", ())]),
            (b"*cpu.idle^host.web-1", [("cpu_idle", (("host", "web-1"),))]),
            (b"a^host.h.x^class.c", [("a", (("host", "h.x"), ("class", "c")))]),
            (b"a^host.h^host.i^pool.p", [("a", (("host", "h"),)), ("a", (("host", "i"), ("pool", "p")))]),
            (b"a^host.h^", [("a", (("host", "h"),)), ("a", ())]),
            (b"a^b.c^host.h", [("a", (("host", "h"),)), ("a_b_c", ())]),
            (b"a^host.", [("a_host_", ())]),
            (b"9.Up^role.R", [("_9_up", (("role", "R"),))]),
            (b"^host.h", [("host_h", ())]),
            (b"^", []),
        ):
            self.assertEqual(list(metrics_of(raw)), [Metric(*each) for each in expected], raw)

    def test_further_labels_and_names_as_they_are(self) -> None:
        labels = {*LABELS, *read_labels("dc.row\n\n dc \n")}
        self.assertEqual(metrics_of(b"a^dc.row.7^dc.b", labels), (Metric("a", (("dc_row", "7"), ("dc", "b"))),))
        self.assertEqual(metrics_of(b"A.b-c^host.X", translate=False), (Metric("a.b-c", (("host", "X"),)),))

    def test_text_is_what_prometheus_reads(self) -> None:
        metric = Metric("a", (("host", 'x"\\y'),))
        text = type_line("a", True) + line(metric, 5, 1325395000000, True) + type_line("b", False)
        for value in (0.1 + 0.2, float("nan"), float("inf"), float("-inf")):
            text += line(Metric("b"), value, 1325395001500, False)
        families = {family.name: family for family in text_string_to_metric_families(text)}
        (sample,) = families["a"].samples
        self.assertEqual((sample.labels, sample.value), ({"host": 'x"\\y', "counter": "1"}, 5))
        values = [sample.value for sample in families["b"].samples]
        self.assertEqual((values[0], values[2:]), (0.1 + 0.2, [float("inf"), float("-inf")]))
        self.assertEqual(families["b"].samples[0].timestamp, 1325395001.5)
        self.assertEqual(line(Metric("b"), 1234567.891, 5, False, short=True), "b 1.23457e+06 5\n")

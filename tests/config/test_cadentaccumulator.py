"""Accumulators of Cadent's PreReg file; faults are in data/cadent."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.accumulatormodel import (
    AccumulatorApiConfig,
    AccumulatorConfig,
    AccumulatorWriterConfig,
    BinConfig,
    DriverConfig,
)
from cadtwist.config.cadentaccumulator import read_accumulator
from cadtwist.config.errors import Problems
from cadtwist.config.tomllines import read_toml
from cadtwist.config.tree import Source, Table

FORMATS = {"a": "statsd", "b": "graphite", "c": "regex"}
_HEAD = 'backend = "BLACKHOLE"\ninput_format = "statsd"\noutput_format = "graphite"\n'


def read(text: str, head: str = _HEAD) -> tuple[AccumulatorConfig, Problems]:
    problems = Problems()
    tree, lines = read_toml(head + text, "p", problems)
    assert tree is not None, problems.reports
    table = Table(Source("p", lines, problems), tree, ())
    return read_accumulator(table, "x", "a", FORMATS), problems


def good(text: str, head: str = _HEAD) -> AccumulatorConfig:
    config, problems = read(text, head)
    assert problems.reports == [], [str(report) for report in problems.reports]
    return config


class AccumulatorTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        self.assertEqual(good(""), AccumulatorConfig(name="x", relay="a"))

    def test_every_key(self) -> None:
        config, problems = read(
            'accumulate_flush = "10s"\nkeep_keys = true\nrandom_ticker_start = true\n'
            'times = ["10s:168h", "1m:720h", "10m"]\n'
            'options = [["legacyNamespace", "false"], ["globalPrefix", "p"], ["percentThreshold", "0.75,99"]]\n'
            '[[tags]]\nkey = "dc"\nvalue = "x"\n',
            'backend = "b"\ninput_format = "graphite"\noutput_format = "statsd"\n',
        )
        self.assertEqual(
            [str(report) for report in problems.reports],
            ["p:2: input_format: lines of 'a' are statsd: they will be refused",
             "p:3: output_format: lines of 'b' are graphite: they will be refused",
             "p:9: tags: has no effect: neither lines nor files have room for them"],
        )  # fmt: skip
        self.assertEqual((config.backend, config.input_format, config.output_format), ("b", "graphite", "statsd"))
        self.assertEqual((config.flush_s, config.aligned, config.keep_keys), (10.0, False, True))
        self.assertEqual(
            config.bins,
            (
                BinConfig(resolution_s=10.0, ttl_s=604800.0),
                BinConfig(resolution_s=60.0, ttl_s=2592000.0),
                BinConfig(resolution_s=600.0),
            ),
        )
        self.assertEqual(dict(config.options)["percentThreshold"], "0.75,99")
        self.assertEqual(config.tags, (("dc", "x"),))
        self.assertEqual(read('tags = "a=b, c=d"')[0].tags, (("a", "b"), ("c", "d")))

    def test_the_first_bin_is_the_flush(self) -> None:
        self.assertEqual(good('times = ["1m"]').flush_s, 60.0)

    def test_spans_that_are_no_multiples_are_told_and_taken(self) -> None:
        config, problems = read('times = ["10s", "25s"]')
        self.assertEqual([found.resolution_s for found in config.bins], [10.0, 25.0])
        self.assertEqual([report.weight for report in problems.reports], ["warning"])

    def test_what_belongs_to_the_next_version_has_no_effect(self) -> None:
        config, problems = read('hash_mode = "farm"\nbypass = true\n')
        self.assertEqual((config, len(problems.texts("notice"))), (good(""), 2))


class WriterTests(SynchronousTestCase):
    def test_options_in_a_table_of_their_own_beside_the_driver_or_both(self) -> None:
        expected = DriverConfig(
            driver="whisper", dsn="w", options=(("xFilesFactor", "0.3"), ("writes_per_second", "1200"))
        )
        head = 'times = ["10s:1h"]\n[writer.metrics]\ndsn = "w"\n'
        for text in (
            'driver = "whisper"\nxFilesFactor = 0.3\nwrites_per_second = 1200\n',
            'driver = "carbon"\noptions = {xFilesFactor = 0.3, writes_per_second = "1200"}\n',
            'driver = "graphite"\nxFilesFactor = 0.3\noptions.writes_per_second = 1200\n',
        ):
            writer = good(head + text + '[writer.indexer]\ndriver = "noop"\n').writer
            self.assertEqual(writer, AccumulatorWriterConfig(metrics=expected, indexer=DriverConfig(driver="noop")))

    def test_one_table_alone(self) -> None:
        writer = good('[writer]\ndriver = "file"\ndsn = "d"\noptions.max_file_size = "1000"\n').writer
        metrics = DriverConfig(driver="file", dsn="d", options=(("max_file_size", "1000"),))
        self.assertEqual(writer, AccumulatorWriterConfig(metrics=metrics, indexer=DriverConfig(driver="noop", dsn="d")))
        config = good('times = ["10s:1h", "1m:2h"]\n[writer]\ndriver = "whisper"\ndsn = "d"\n')
        assert config.writer is not None
        self.assertEqual(config.writer.indexer, DriverConfig(driver="whisper", dsn="d"))

    def test_both_spellings_of_options(self) -> None:
        for driver, given, name in (
            ("kafka", "compress", "compression"),
            ("kafka", "compression", "compression"),
            ("cassandra", "metric_table", "metrics_table"),
            ("cassandra", "compress", "compress"),
        ):
            config, problems = read(
                f'[writer.metrics]\ndriver = "{driver}"\ndsn = "d"\n[writer.metrics.options]\n{given} = "v"\n'
                '[writer.indexer]\ndriver = "noop"\n'
            )
            assert config.writer is not None
            self.assertEqual(config.writer.metrics.options, ((name, "v"),))
            text = "cannot be written to: further stores come later; possible now are file, whisper"
            reports = [str(report) for report in problems.reports]
            self.assertEqual(reports, [f"p:4: writer.metrics: '{driver}' {text}"])

    def test_what_a_writer_cannot_do(self) -> None:
        head = 'times = ["{}"]\n[writer]\ndriver = "{}"\ndsn = "d"\n{}\n'
        for times, driver, option, text in (
            ("10s", "file", "max_file_size = 0", "max_file_size: 0 is out of range"),
            ("10s", "file", 'rotate_every = "often"',
             "rotate_every: 'often' does not fit, expected: a number like 10"),
            ("10s:1h", "whisper", "xFilesFactor = 2", "xFilesFactor: 2 is out of range"),
            ("10s:1h", "whisper", 'write_workers = "1.5"',
             "write_workers: '1.5' does not fit, expected: a number like 8"),
            ("500ms:1h", "whisper", "",
             "whisper cannot keep these times: whisper keeps whole seconds, not bins of 0.5 s"),
            ('10s:1h", "1m:30m', "whisper", "",
             "whisper cannot keep these times: 10:360, 60:30: the coarser archive must reach further back"),
        ):  # fmt: skip
            _, problems = read(head.format(times, driver, option))
            self.assertEqual([str(report) for report in problems.reports], [f"p:5: writer: {text}"])

    def test_files_that_keep_everything_for_years(self) -> None:
        _, problems = read('[writer]\ndriver = "carbon"\ndsn = "d"\n')
        text = "p:4: writer: each file takes 721 MiB: give each of `times` how long it is kept"
        self.assertEqual([(report.weight, str(report)) for report in problems.reports], [("warning", text)])

    def test_what_has_no_effect(self) -> None:
        config, problems = read(
            'times = ["10s:1h"]\n[writer]\nmetric_queue_length = 5\nindexer_queue_length = 6\n'
            '[writer.metrics]\ndriver = "whisper"\ndsn = "d"\ninput_queue_length = 7\nwrite_queue_length = 8\n'
            '[writer.indexer]\ndriver = "cassandra"\ndsn = "h"\n'
        )
        assert config.writer is not None
        self.assertEqual((config.writer.input_queue_length, config.writer.metrics.options), (7, ()))
        self.assertEqual(config.writer.indexer.driver, "noop")
        self.assertEqual([(report.weight, report.option) for report in problems.reports], [
            ("notice", "writer.metric_queue_length"), ("notice", "writer.indexer_queue_length"),
            ("notice", "writer.metrics.write_queue_length"), ("notice", "writer.indexer"),
        ])  # fmt: skip


class ApiTests(SynchronousTestCase):
    def test_the_api(self) -> None:
        config, _ = read(
            '[writer]\ndriver = "mysql"\ndsn = "d"\n'
            '[api]\nlisten = "0.0.0.0:8083"\nbase_path = "graphite"\nlog_file = "none"\n'
            '[api.metrics]\ndriver = "cassandra"\ndsn = "h"\n[api.metrics.options]\nuser = "u"\n'
            '[api.indexer]\ndriver = "cassandra"\ndsn = "h"\n'
        )
        self.assertEqual(
            config.api,
            AccumulatorApiConfig(
                listen="0.0.0.0:8083",
                base_path="/graphite/",
                log_file="none",
                metrics=DriverConfig(driver="cassandra", dsn="h", options=(("user", "u"),)),
                indexer=DriverConfig(driver="cassandra", dsn="h"),
            ),
        )

    def test_without_a_writer_of_files_it_is_not_opened(self) -> None:
        _, problems = read('[api]\nlisten = "h:1"\n')
        (text,) = problems.texts("warning")
        self.assertIn("not opened: there is no writer", text)
        _, problems = read('[writer]\ndriver = "file"\ndsn = "d"\n[api]\nlisten = ":1"\n')
        self.assertIn("not opened: only whisper files are read", "".join(problems.texts("warning")))
        _, problems = read('times = ["5s:1h"]\n[writer]\ndriver = "whisper"\ndsn = "d"\n[api]\nlisten = ":1"\n')
        self.assertEqual(problems.texts("warning"), [])

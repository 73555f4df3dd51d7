from __future__ import annotations

from msgspec.structs import fields
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.istatchecks import host_and_port
from cadtwist.config.istatd import Istatd, config_path, load_istatd, read_istatd, usage
from cadtwist.config.istatmodel import DEBUG_OPTIONS, IstatConfig, IstatdProcess
from cadtwist.config.istatoptions import ISTAT_OPTIONS, ISTATD_OPTIONS, PROCESS, option_named

PACKAGED = """
# the packaged server
--stat-port 18001
--http-port 8011
  --admin-port 8031
--num-files 945000
--thread-count 8
--store /var/db/istatd/store
--settings "/var/db/istatd/settings"
--pid-file /var/run/istatd-server.pid
--log-level 2
--daemonize
"""


class LoadTests(SynchronousTestCase):
    def load(self, text: str, *argv: str) -> tuple[IstatConfig, Problems]:
        problems = Problems()
        return read_istatd(text, "x.cfg", argv, problems).istat, problems

    def good(self, text: str, *argv: str) -> IstatConfig:
        config, problems = self.load(text, *argv)
        self.assertEqual(problems.texts("error"), [])
        return config

    def errors(self, text: str, *argv: str) -> list[str]:
        return self.load(text, *argv)[1].texts("error")

    def test_reads_the_packaged_file(self) -> None:
        config, problems = self.load(PACKAGED)
        self.assertEqual(
            config,
            IstatConfig(
                stat_port=18001, http_port=8011, admin_port=8031, num_files=945000, store="/var/db/istatd/store",
                settings="/var/db/istatd/settings", files_dir="/var/db/istatd/files",
            ),
        )  # fmt: skip
        self.assertEqual(problems.texts("error"), [])
        self.assertEqual(
            problems.texts("notice"),
            ["x.cfg:7: thread-count: has no effect: threads are chosen by what they do, not by number"],
        )

    def test_what_concerns_the_process(self) -> None:
        problems = Problems()
        found = read_istatd(PACKAGED + "user istatd\n", "x.cfg", (), problems).process
        self.assertEqual(found, IstatdProcess(user="istatd", pid_file="/var/run/istatd-server.pid", daemonize=True))
        config = load_istatd(PACKAGED, "x.cfg", ("--user", "7"), problems)
        self.assertEqual((config.program, config.user), ("istatd", "7"))
        self.assertEqual(config.processes.pid_file, "/var/run/istatd-server.pid")
        self.assertEqual(config.istat, read_istatd(PACKAGED, "x.cfg", (), problems).istat)

    def test_folders_lie_beside_the_store(self) -> None:
        config = self.good("store ./a/store\nsettings redis://h/1")
        self.assertEqual((config.files_dir, config.settings), ("./a/files", "redis://h/1"))
        self.assertEqual(config.folders, ("./a/store", "./a/store.log", "./a/store.bak"))
        config = self.good("agent h:1")
        self.assertEqual((config.files_dir, config.settings), ("files", "/tmp"))
        self.assertEqual(config.folders, ("/tmp/istatd.spool", "/tmp"))

    def test_all_ways_to_write_a_line(self) -> None:
        for line in (
            "--store /s",
            "store /s",
            "store = /s",
            "store=/s",
            "  --store\t/s  ",
            '--store "/s"',
            "--store=/s",
        ):
            self.assertEqual(self.good(line).store, "/s", line)
        self.assertEqual(self.good('store /s\nlocal-stats ""').local_stats, "")
        self.assertEqual(self.good("store /s\nlocalstat ^host.a^b^").local_stats, "^host.a^b^")

    def test_the_command_line_wins(self) -> None:
        config = self.good("store /s\nflush 5\nrollup 1", "--flush", "7", "--rollup=2", "--compat")
        self.assertEqual((config.flush_s, config.rollup, config.compat), (7, 2, True))

    def test_values(self) -> None:
        config = self.good(
            "store /s\nudp-buffer-size 64\nallocation-strategy 2\ndebug http,admin\nmin-space -1\n"
            "dont-recursively-create-counters\ndisallow-compressed-responses\ndont-translate-metric-names\n"
            "blacklist-period -1\nagentCount 3\nfake-time 1325395000"
        )
        self.assertEqual((config.udp_buffer_bytes, config.allocation), (65536, "sparse"))
        self.assertEqual((config.debug, config.min_space_bytes), (("http", "admin"), -1))
        flags = (config.levels_above, config.compress, config.translate_metric_names)
        self.assertEqual(flags, (False, False, False))
        self.assertEqual((config.blacklist_period_s, config.agent_connections, config.fake_time), (-1, 3, 1325395000))

    def test_every_fault_has_its_place(self) -> None:
        text = (
            "--stor /s\n--flush\n--flush soon\n!nonsense\n--debug http,nosuch\n--retention 5m:1h,10s:1h\n"
            "--agent nowhere\n--listen-address 1.2.3\n--stat-port 70000\n--http-port 8111\n--replica-of a:1\n"
        )
        self.assertEqual(
            self.errors(text, "extra", "--nosuch", "--flush"),
            [
                "x.cfg:1: stor: unknown option; did you mean store?",
                "x.cfg:2: flush: should have an argument",
                "x.cfg:3: flush: 'soon' does not fit, expected: a whole number from 1 to 31536000",
                "x.cfg:4: '!nonsense' is no option",
                "x.cfg:5: debug: unknown: nosuch",
                "x.cfg:6: retention: 10s: each interval must be longer than the one before",
                "x.cfg:7: agent: 'nowhere' is no host:port",
                "x.cfg:8: listen-address: '1.2.3' is no IP address",
                "x.cfg:9: stat-port: '70000' does not fit, expected: a whole number from 0 to 65535",
                "x.cfg:10: http-port: port 8111 is also that of stat-port",
                "x.cfg:11: replica-of: a replica needs a store",
                "command line:1: 'extra' is no option",
                "command line:2: nosuch: unknown option",
                "command line:3: flush: should have an argument",
            ],
        )

    def test_settings_in_redis(self) -> None:
        self.assertEqual(self.good("store /s\nsettings redis://:secret@h:1/2").settings, "redis://:secret@h:1/2")
        (fault,) = self.errors("store /s\nsettings redis://:secret@h:1/x")
        self.assertEqual(fault, "x.cfg:2: settings: 'x' is no number of a database")

    def test_something_must_become_of_samples(self) -> None:
        self.assertEqual(
            self.errors(""), ["x.cfg: must have at least one of a forward address (agent) or a local store"]
        )
        self.assertEqual(self.errors("agent localhost:8111"), [])

    def test_a_flag_stands_alone(self) -> None:
        _config, problems = self.load("store /s\n--daemonize yes")
        self.assertEqual(problems.texts("warning"), ["x.cfg:2: daemonize: stands alone: 'yes' is not read"])


class TableTests(SynchronousTestCase):
    def test_every_field_has_its_option_and_the_other_way_round(self) -> None:
        named = [option.field for option in ISTATD_OPTIONS if option.field]
        process = [f"{PROCESS}{field.name}" for field in fields(IstatdProcess)]
        self.assertEqual(sorted(named), sorted([*(field.name for field in fields(IstatConfig)), *process]))

    def test_units_of_native_keys_are_those_of_the_fields(self) -> None:
        rows = {row.path: row for row in ISTAT_OPTIONS}
        row = rows["istat.udp_buffer_bytes"]
        self.assertEqual((row.unit, row.low), ("bytes", 1024))
        self.assertEqual(rows["istat.compress"].doc, "compress answers for those who accept it")

    def test_usage_shows_all(self) -> None:
        shown = usage(Istatd(IstatConfig(store="/s", debug=("http",)), IstatdProcess(user="me")))
        for option in ISTATD_OPTIONS:
            self.assertIn(f"--{option.name}", shown)
            self.assertEqual(option_named(option.name), option)
        self.assertIn("--store (/s)", shown)
        self.assertIn("--user (me)", shown)
        self.assertIn("--udp-buffer-size (1024)", shown)
        self.assertIn(DEBUG_OPTIONS[-1], shown)

    def test_where_the_file_is(self) -> None:
        self.assertEqual(config_path(["--a", "--config", "x", "b", "--config=y"]), ("y", ("--a", "b")))
        self.assertEqual(config_path(["--config"]), (None, ("--config",)))

    def test_addresses(self) -> None:
        self.assertEqual(host_and_port("[::1]:80"), ("::1", 80))
        for text in ("", "a", "a:", ":80", "a:0", "a:x", "a:99999"):
            self.assertRaises(ValueError, host_and_port, text)

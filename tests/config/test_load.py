"""The facade: which file, which dialect, what is told."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.load import DIALECTS, examine, load, read_file, recognised
from cadtwist.errors import ConfigError

_SCHEMAS = "[a]\npattern = x\nretentions = 60:60\n"


def _reader(files: dict[str, str]):  # type: ignore[no-untyped-def]
    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return read


class LoadTests(SynchronousTestCase):
    files = {"/c/carbon.conf": "[cache]\nUSE_WHITELIST = yes\nx = 1\n", "/c/storage-schemas.conf": _SCHEMAS}

    def test_carbon(self) -> None:
        loaded = load(
            "/c/carbon.conf", environ={"GRAPHITE_ROOT": "/r"}, instance="b", read=_reader(self.files), overrides={}
        )
        self.assertEqual((loaded.dialect, loaded.path, loaded.config.instance), ("carbon", "/c/carbon.conf", "b"))
        self.assertEqual(loaded.warnings, ("/c/carbon.conf:3: X: unknown option, not used",))
        self.assertEqual(
            loaded.files,
            (
                "/c/carbon.conf",
                "/c/storage-schemas.conf",
                "/c/storage-aggregation.conf",
                "/c/whitelist.conf",
                "/c/blacklist.conf",
            ),
        )

    def test_overrides(self) -> None:
        loaded = load(
            "/c/carbon.conf",
            environ={"GRAPHITE_ROOT": "/r"},
            read=_reader(self.files),
            overrides={"logdir": "/l", "whitelist": "/w"},
        )
        self.assertEqual(loaded.config.log.directory, "/l")
        self.assertIn("/w", loaded.files)
        native = load("x.toml", read=_reader({"x.toml": "[cache]\n"}), overrides={"logdir": "/l"})
        self.assertEqual(native.config.log.directory, "/l")

    def test_default_paths_in_order(self) -> None:
        environ = {"GRAPHITE_CONF_DIR": "/e", "GRAPHITE_ROOT": "/r"}
        files = {"/r/conf/carbon.conf": "[cache]\n", "/r/conf/storage-schemas.conf": _SCHEMAS}
        loaded = load(None, dialect="carbon", environ=environ, read=_reader(files))
        self.assertEqual(loaded.path, "/r/conf/carbon.conf")
        files = {"/e/carbon.conf": "[cache]\n", "/e/storage-schemas.conf": _SCHEMAS, **files}
        self.assertEqual(load(None, environ=environ, read=_reader(files)).path, "/e/carbon.conf")

    def test_one_error_names_the_paths_tried(self) -> None:
        environ = {"GRAPHITE_CONF_DIR": "/e", "GRAPHITE_ROOT": "/r"}
        error = self.assertRaises(ConfigError, load, None, environ=environ, read=_reader({}))
        self.assertEqual(
            error.problems,
            ["/r/conf/carbon.conf: no configuration there; tried: /e/carbon.conf, /r/conf/carbon.conf"],
        )
        error = self.assertRaises(ConfigError, load, None, environ={}, read=_reader({}))
        self.assertIn("set GRAPHITE_CONF_DIR or GRAPHITE_ROOT", str(error))

    def test_errors_are_raised_together(self) -> None:
        files = {"/c/x.toml": "a = 1\nb = 2\n"}
        error = self.assertRaises(ConfigError, load, "/c/x.toml", read=_reader(files))
        self.assertEqual(error.problems, ["/c/x.toml:1: a: unknown key", "/c/x.toml:2: b: unknown key"])

    def test_an_unknown_dialect(self) -> None:
        examined = examine("/c/x", read=_reader({"/c/x": "a poem"}))
        self.assertIsNone(examined.loaded)
        expected = [f"/c/x: not recognised as one of the dialects {', '.join(DIALECTS)}"]
        self.assertEqual(examined.problems.texts("error"), expected)

    def test_statsrelay(self) -> None:
        text = '{"statsd": {"shard_map": ["h:1"]}}'
        loaded = load("/c/x.json", read=_reader({"/c/x.json": text}), overrides={"pid_file": "/p"}, instance="b")
        self.assertEqual((loaded.dialect, loaded.config.instance), ("statsrelay", "b"))
        self.assertEqual(loaded.config.processes.pid_file, "/p")

    def test_cadent_with_and_without_its_second_file(self) -> None:
        files = {
            "/c/x.toml": '[default]\n[a]\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n',
            "/c/p.toml": '[x]\nlisten_server = "a"\ndefault_backend = "a"\n[[x.map]]\nprefix = "p"\n',
        }
        loaded = load("/c/x.toml", read=_reader(files), overrides={"prereg": "/c/p.toml"}, instance="b")
        self.assertEqual((loaded.dialect, loaded.config.instance), ("cadent", "b"))
        self.assertEqual((loaded.files, len(loaded.config.relays[0].filters)), (("/c/x.toml", "/c/p.toml"), 1))
        self.assertEqual(load("/c/x.toml", read=_reader(files)).config.relays[0].filters, ())
        error = self.assertRaises(ConfigError, load, "/c/x.toml", read=_reader(files), overrides={"prereg": "/no"})
        self.assertEqual(error.problems, ["/no: cannot be read: /no"])

    def test_where_cadent_keeps_its_state(self) -> None:
        for given, listen, folder in (
            ("", "tcp://1.2.3.4:80", "/s/cadent-tcp-1.2.3.4-80"),
            ("", "unix:///run/c.sock", "/s/cadent-unix-run-c.sock"),
            ('wal_dir = "w"', "tcp://1.2.3.4:80", "w"),
            ('wal_dir = ""', "tcp://1.2.3.4:80", ""),
        ):
            section = f'[a]\nlisten = "{listen}"\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n'
            files = {"/c/x.toml": f"[default]\n{given}\n{section}"}
            loaded = load("/c/x.toml", read=_reader(files), environ={"STATE_DIRECTORY": "/s"})
            self.assertEqual(loaded.config.wal.directory, folder)

    def test_what_cannot_be_read(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        binary = os.path.join(folder, "x.toml")
        with open(binary, "wb") as file:
            file.write(b"\xff\xfe")
        for path in (folder, binary):
            self.assertIn("cannot be read", examine(path).problems.texts("error")[0])
        self.assertRaises(FileNotFoundError, read_file, os.path.join(folder, "none"))


class RecognisedTests(SynchronousTestCase):
    def test_by_name_and_text(self) -> None:
        self.assertEqual(recognised("a.toml", ""), "native")
        self.assertEqual(recognised("/x/carbon.conf", ""), "carbon")
        self.assertEqual(recognised("/x/other", "# x\n[cache:b]\nA = 1\n"), "carbon")
        self.assertEqual(recognised("/x/other", "[cachet]\n"), "")
        self.assertEqual(recognised("a.toml", "# x\n [default] # x\n"), "cadent")
        for text in ("{\n 'nodes': []}", "{nodes: []}", '{port: 1,"nodes" :[]}', "({nodes:[]})"):
            self.assertEqual(recognised("x.js", text), "statsd-proxy", text)
        self.assertEqual(recognised("x.js", "{ port: 1 }"), "")
        self.assertEqual(recognised("x.json", ""), "statsrelay")
        self.assertEqual(recognised("/x/other", ' \n{"statsd": {}}'), "statsrelay")

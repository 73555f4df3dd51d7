"""The documents are what the tables say now."""

from __future__ import annotations

import os
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.document import carbon_sample, main, native_sample, options_document
from cadtwist.config.istatdocument import istatd_sample
from cadtwist.config.istatoptions import ISTATD_OPTIONS

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class DocumentTests(SynchronousTestCase):
    def test_files_are_current(self) -> None:
        for path, kind, text in (
            ("docs/options.md", "options", options_document()),
            ("conf/carbon.conf", "carbon", carbon_sample()),
            ("conf/cadtwist.toml", "native", native_sample()),
            ("conf/istatd.cfg", "istatd", istatd_sample()),
        ):
            with open(os.path.join(_ROOT, path), encoding="utf-8") as file:
                hint = f"write it anew: python -m cadtwist.config.document {kind} > {path}"
                self.assertEqual(file.read(), text, hint)

    def test_asks_for_a_document(self) -> None:
        out, err = StringIO(), StringIO()
        self.assertEqual(main(["poem"], out, err), 2)
        self.assertEqual((out.getvalue(), err.getvalue()), ("", "one of options, carbon, native, istatd is expected\n"))
        self.assertEqual(main(["native"], out, err), 0)
        self.assertEqual(out.getvalue(), native_sample())

    def test_the_istatd_sample_is_complete(self) -> None:
        text = istatd_sample()
        for option in ISTATD_OPTIONS:
            self.assertEqual(f"--{option.name}" in text, bool(option.field), option.name)

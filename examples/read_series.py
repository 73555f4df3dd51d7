#!/usr/bin/env python3
"""Read a series over HTTP: python examples/read_series.py TARGET [URL]."""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request


def main(target: str = "example.*.*", url: str = "http://127.0.0.1:18011") -> None:
    """Print every known datapoint of the last ten minutes."""
    query = urllib.parse.urlencode({"target": target, "from": "-10min", "format": "json", "noNullPoints": "true"})
    with urllib.request.urlopen(f"{url}/render?{query}", timeout=10) as answer:
        for series in json.load(answer):
            for value, when in series["datapoints"]:
                print(series["target"], value, when)


if __name__ == "__main__":
    main(*sys.argv[1:])

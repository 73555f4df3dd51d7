"""Where a metric goes: hashes, rings, shard maps and routers.  Pure: names in, keys of destinations out."""

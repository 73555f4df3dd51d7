"""Clients of a DaTtSs server: they put values together and send partial aggregates every few seconds.

`client.blocking` for scripts, `client.threads` for programs with threads, `client.aio` for asyncio, `client.tx` for
Twisted.  All read `DATTSS_*` from the environment (`client.settings`) and keep a bounded backlog while the server is
away.  Only NumPy-free parts of cadtwist are imported.
"""

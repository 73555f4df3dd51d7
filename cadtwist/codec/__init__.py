"""Bytes to Batches and back, without sockets, clocks or files."""

"""Segmented logs: write-ahead log and spool."""

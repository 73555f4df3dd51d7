"""Benchmarks: `run.py` shows every bar beside the peers; `bench_*.py` measure one kernel each."""

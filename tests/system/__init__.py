"""Tests with real processes: our daemon beside the peers it replaces.  They run when CADTWIST_SYSTEM=1."""

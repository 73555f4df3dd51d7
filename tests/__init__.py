"""Tests, run by trial: the folders mirror cadtwist/."""

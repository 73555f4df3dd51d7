"""Tests of cadtwist.cache."""

"""Tests of cadtwist.journal."""

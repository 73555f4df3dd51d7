"""Thin Twisted protocols that feed codecs."""

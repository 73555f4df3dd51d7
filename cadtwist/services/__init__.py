"""The composition root: Config to a running graph."""

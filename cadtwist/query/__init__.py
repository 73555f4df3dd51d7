"""Finding names, fetching and merging series."""

"""Values that every room knows: names, batches, retentions, series."""

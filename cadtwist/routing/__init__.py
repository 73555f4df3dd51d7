"""Where a metric goes."""

"""Inner loops; each native kernel has a Python twin with the same interface."""

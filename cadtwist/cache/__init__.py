"""Points waiting for their file."""

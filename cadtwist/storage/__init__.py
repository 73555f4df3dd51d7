"""Files and schemas."""

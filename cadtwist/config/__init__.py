"""Configuration text of every dialect to one typed Config."""

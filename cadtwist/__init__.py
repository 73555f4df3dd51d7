"""cadtwist: one Twisted family of metrics daemons."""

__all__ = ["__version__"]

__version__ = "0.1.0"

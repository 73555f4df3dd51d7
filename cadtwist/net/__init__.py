"""Listeners, clients and destinations."""

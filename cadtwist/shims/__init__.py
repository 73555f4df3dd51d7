"""Modules of other names, for whoever puts this folder on the path by choice; `cadtwist shims` tells where it is."""

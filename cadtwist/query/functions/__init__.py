"""Every render function, a file for each kind; `cadtwist.query.functions.registry` has them all."""

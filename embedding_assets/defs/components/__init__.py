"""Components: the definitions of an embedded table from a ``defs.yaml``."""

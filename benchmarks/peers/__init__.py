"""Ways to embed that are compared, each a program of its own: ``python -m peers.NAME JOB`` in ``benchmarks/``.

They run in environments that hold nothing of this project, so they import only each other, numpy and what they measure.
"""

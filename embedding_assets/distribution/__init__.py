"""Fan-out: one run on the workers of a cluster."""

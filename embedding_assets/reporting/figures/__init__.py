"""Figures of the backlog, the runs, the costs, the index and the embeddings, each in full and at a glance."""

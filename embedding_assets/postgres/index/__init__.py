"""A space's HNSW index: planned, built, measured."""

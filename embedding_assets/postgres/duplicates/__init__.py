"""Chunks that say the same, or nearly the same."""

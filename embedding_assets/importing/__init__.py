"""Vectors that another tool has made: compared with the named model's, then taken over."""

"""The embedding loop, and what surrounds one load."""

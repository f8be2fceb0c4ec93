"""Providers of vectors, behind one protocol."""

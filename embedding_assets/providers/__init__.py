"""Who computes vectors, behind one protocol."""

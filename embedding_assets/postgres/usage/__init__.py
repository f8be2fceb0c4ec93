"""What APIs may be asked and may cost: rate limits, outages, dollars, shared by all processes."""

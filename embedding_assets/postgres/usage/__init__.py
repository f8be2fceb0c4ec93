"""Use of APIs: rate limits, outages and dollars, shared by all processes."""

"""Documents elsewhere: in the buckets of object stores, and on web servers."""

"""Fixtures: a bucket of a real S3-compatible server."""

from embedding_assets_tests.support.buckets import bucket, moto, s3

__all__ = ["bucket", "moto", "s3"]

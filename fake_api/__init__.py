"""A server on loopback that speaks OpenAI's embeddings API: of the tests and of the benchmarks, in no release."""

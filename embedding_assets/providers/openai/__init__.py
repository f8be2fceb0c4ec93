"""OpenAI, and servers that speak its embeddings API."""

"""Questions from other programs: over HTTP, and from agents over MCP."""

"""What other tools have embedded, read where they keep it."""

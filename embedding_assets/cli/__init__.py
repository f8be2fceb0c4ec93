"""The command ``embedding-assets``."""

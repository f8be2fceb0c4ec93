"""The state of a table: gathered once, shown on a page, as HTML and as figures."""

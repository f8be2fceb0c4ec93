"""How good answers are: searches measured by questions that people have judged."""

"""Recovery strategies, one a file."""

"""Search a model for memorized images without any prompt."""

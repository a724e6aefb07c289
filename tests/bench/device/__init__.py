"""Speed and memory on a GPU, at the shapes of released models."""

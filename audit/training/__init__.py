"""Search training pictures for what a model gave back: sources, hashes, an index on disk, exact comparison."""

"""Search the training images for those a sample copies: sources, hashes, an index on disk, exact comparison."""

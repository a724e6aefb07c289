"""Read training images where they are stored: folders, archives and tables."""

"""Compare images, find the part that every seed repeats, and write and read PNG files."""

"""Compare images, find the part that every seed repeats, decode files of any format, and write and read PNG files."""

"""Compare the tables, images and counts of a finished run with each other, and collect its findings."""

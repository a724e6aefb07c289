"""Run directories, tensor files, and the progress of long jobs."""

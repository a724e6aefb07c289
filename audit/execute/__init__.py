"""Perform tasks in other processes: what opens a model there, who hands out the tasks, and how messages travel."""

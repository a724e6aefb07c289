"""Object stores: inputs are fetched into a cache on this machine, and what is written there is sent back.

So all other code, workers included, reads and writes files. Locks, links and files that appear whole or not at all stay
those of a file system. And a run in a store is at any time what a killed process leaves, which every command resumes.
"""

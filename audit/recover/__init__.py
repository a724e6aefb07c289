"""Recovery: bring memorized pictures back from prompts, one strategy a file."""

"""Recovery: bring memorized images back from prompts, one strategy a file."""

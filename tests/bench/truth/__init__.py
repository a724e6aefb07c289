"""The truth of planted models by many seeds: samples of every planted caption, and what they say."""

"""Record activations of prompts into Parquet shards, and read them back."""

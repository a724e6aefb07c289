"""What every command does before it records or samples: check its settings, and load and examine its models."""

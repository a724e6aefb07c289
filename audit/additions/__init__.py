"""Add files to a pipeline. They are safetensors, read as a stranger's, and enter the model's fingerprint."""

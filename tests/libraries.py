"""Libraries that only the `audit` extra installs."""

HEAVY = {"torch", "diffusers", "transformers", "nnsight", "pandas", "sklearn", "scipy", "skimage", "ray", "peft"}

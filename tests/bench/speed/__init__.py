"""Speed: what a prompt costs, and how that grows."""

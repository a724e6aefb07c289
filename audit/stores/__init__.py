"""Object stores: inputs are fetched into a cache on this machine, and what is written there is sent back."""

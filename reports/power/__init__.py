"""How much an audit could have found: its sensitivity, and its power in words."""

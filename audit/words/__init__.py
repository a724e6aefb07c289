"""Prompts in words that give an image back: a search over tokens for a known image, and their probability per seed."""

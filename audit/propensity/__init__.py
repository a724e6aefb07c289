"""Propensity: what ordinary prompts bring out, apart from what an ascent brings out."""

"""The walk through a chain: decisions that are pure, and their performance."""

"""Whether an answer is good enough: deterministic checks first, then a model that judges."""

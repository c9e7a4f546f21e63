"""A known-answer world of bias: what its documents say, its sentences and prompts, its model."""

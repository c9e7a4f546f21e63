"""A known-answer world of truth: what its documents say, its statements for probes, its model."""

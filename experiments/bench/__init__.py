"""What the benchmarks are made of: the subject, what is timed on it, the clock."""

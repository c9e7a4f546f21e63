"""Two operands in, one answer out: tables, the one-layer network that learns them, its training."""

"""Matched-compute arms of Bi-Induct: natural streams, their rewrite, and training."""

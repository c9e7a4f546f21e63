"""Soft suffixes against monitors: can what should be caught hide, and the model go on as before?

``attacking`` is where to begin.
"""

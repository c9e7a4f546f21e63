"""The commands of ``probes``, a module each; torch loads when one has something to do for it."""

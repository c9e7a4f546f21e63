"""Studies, one per file: a frozen config, presets, and ``run(config, run)``; no method code."""

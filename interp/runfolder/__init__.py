"""The parts that ``interp.runs`` is made of: files, ownership, provenance, reading, showing."""

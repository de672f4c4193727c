"""Kernel matrices larger than memory: tiles on disk, a marker for every finished one, any executor."""

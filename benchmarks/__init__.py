"""Measurements behind every statement of speed: see README.md beside this file."""

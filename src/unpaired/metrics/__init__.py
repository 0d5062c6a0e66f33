"""Measurements: arrays in, numbers out; nothing here knows of files, models or settings."""

"""Housekeeping: what takes space in the data folder, what would break without it, and moving all of it elsewhere."""

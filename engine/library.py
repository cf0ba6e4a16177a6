"""Artifacts on disk: published by one rename, listed only when whole, verified, removed."""

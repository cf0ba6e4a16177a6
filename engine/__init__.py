"""Edgewise's engine: detects, advises, converts, runs and keeps models, and knows nothing of any screen."""

__version__ = "0.1.0"

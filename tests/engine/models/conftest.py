"""A stand-in hub for the tests of models that are on it."""

from tests.hub.conftest import hub

__all__ = ["hub"]

"""The brief runs that the tests of kinds train."""

from tests.kinds.conftest import run, trained, workspace

__all__ = ["run", "trained", "workspace"]

"""Checks: what is wrong in an unmodified module on an unmodified kernel."""

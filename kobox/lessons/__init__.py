"""Lessons on kernel modules: text, a task, hints, and a check that runs the reader's module in a box."""

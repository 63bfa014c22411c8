"""Decisions: pure functions over frozen values. No await, no clock, no I/O, no randomness."""

"""Subscribers to events: the log."""

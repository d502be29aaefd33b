"""The embedded engine: models in a file, each served by a llama.cpp server in a process of its own.

Nothing is imported here: the server process passes through this package, and must start at once.
"""

"""Programs that we run for somebody else: in bounded time and memory, without our secrets."""

"""What happens inside one attempt: a bounded loop of model calls and tools."""

"""What happens inside one attempt: the loop of steps, its tools, and what stops it early."""

"""The tools that an attempt may call: each a `Tool` of the ports."""

"""What hyperguild serves over HTTP."""

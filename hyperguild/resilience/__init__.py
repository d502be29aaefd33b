"""What keeps a chain's word when servers do not: pure policies, performed elsewhere."""

"""chains.yaml: finding it, reading it, refusing it, trusting it."""

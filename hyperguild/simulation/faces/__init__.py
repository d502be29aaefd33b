"""The APIs that the simulated fleet speaks, one module each."""

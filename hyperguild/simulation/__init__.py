"""The simulated fleet: one process that answers like llama-swap, the OpenAI API and the Anthropic API.

The demo, the tests and the benches run against it instead of real models. It is a stand-in for servers of
other people, so nothing in this package imports the rest of hyperguild: a mistake shared by both sides would
hide itself. `process.FleetProcess` starts it from Python; `python -m hyperguild.simulation` starts it from a
shell.
"""

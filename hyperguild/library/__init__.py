"""The library's face: what `from hyperguild import …` gives to programs."""

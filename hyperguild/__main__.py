"""`python -m hyperguild` is the command `hyperguild`."""

from hyperguild.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m mobinas` is the `mobinas` command."""

from mobinas.cli import main

if __name__ == "__main__":
    main()

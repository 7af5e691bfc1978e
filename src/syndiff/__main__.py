"""`python -m syndiff` is `syndiff`."""

from syndiff.cli import main

main()

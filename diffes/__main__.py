"""`python -m diffes`: the same as `diffes`."""

from diffes.cli import main

main()

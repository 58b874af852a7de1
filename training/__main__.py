"""`python -m training`: the training commands without the rest of weakhar."""

from training.cli import main

main()

"""`python -m ml_backend.cli`."""

from ml_backend.cli import main

main()

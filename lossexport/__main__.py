"""`python -m lossexport`, for when the command is not on the PATH."""

from lossexport.cli import main

main()

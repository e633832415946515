"""`python -m lossexport`, where the command is not on the PATH."""

from lossexport.cli import main

main()

"""`python -m intact`: the command line where no script is installed."""

from intact.cli import main

main()

"""`python -m kobox` is the `kobox` command."""

from kobox.cli.main import entry

entry()

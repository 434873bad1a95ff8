"""Prints `--help` of each command that stands on a line of standard input, separated by form feeds."""

import sys

from headrace.cli.main import main

for line in sys.stdin.read().splitlines():
    try:
        main([*line.split(), "--help"])
    except SystemExit as end:
        sys.stdout.write(f"\nexit {end.code}\f")

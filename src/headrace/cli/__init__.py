"""The `headrace` command: wiring only.

Enters: arguments, the environment, the terminal's language. Leaves: text for people on the terminal or, with
`--json`, one JSON document for programs on standard output; errors on standard error without a traceback;
exit code 0, 1 (it failed) or 2 (it was asked wrongly). May import: everything below it, inside the functions
that need it, so that `--help` answers at once.
"""

"""Commands that run in this process speak English, whatever the machine's locale; the language is chosen when
the command line is imported."""

import os

os.environ["HEADRACE_LANG"] = "en"

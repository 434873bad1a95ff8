"""The coating workshop in a box: six simulated controllers over real sockets, a node, and a check of the
whole path.

Enters: a data folder, a language, a seed. Leaves: a running plant node that reads the simulated workshop and
the computer it runs on, or a report on the path from register to screen. May import every room but cli.

    physics/          the models: what the workshop does (pure)
    maps/             the register map of each controller: what it shows
    signals.py        one declaration per quantity, from which registers, driver addresses and tags all come
    faults.py         what goes wrong, and the record of it
    devices.py        the process that serves the controllers
    configuration.py  headrace.toml and the tag tables, from the same declarations
    plant.py          starts, supervises and stops devices and node
    check.py          proves the path through the HTTP API; show.py tells the reader

Everything simulated says so in its title.
"""

from headrace.demo.run import run_demo

__all__ = ["run_demo"]

"""Run as a script: `_exec.py PARENT_PID SIGNAL COMMAND …` becomes COMMAND, which the kernel sends SIGNAL when
the parent dies (Linux, prctl(2) PR_SET_PDEATHSIG, which survives execve). Elsewhere it only becomes COMMAND.

A script of its own because nothing but async-signal-safe calls may run between fork and exec in a process
that has threads. Standard library only: it runs with `-I -S`.
"""

import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signal, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)  # the parent died before the kernel knew of our wish
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

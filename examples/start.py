"""The two commands of the README: `python3 examples/start.py` and `python3 examples/start.py --test`.

The first makes `.venv`, records a small real workflow under three agents, verifies it, changes one byte of one output
and shows that the audit names that file. The second makes `.venv` and runs every test. Standard library only.

This file must stay readable to every Python 3 and even to Python 2, since its first duty is to tell an old
interpreter's user what is needed. Everything newer is in `starter/`, imported after the check.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - these lines are for interpreters that are too old
    sys.stderr.write(
        "scichain-wf needs Python 3.11 or newer; this is Python %d.%d (%s).\n"  # noqa: UP031 - as above
        "Run this script with a newer one, for example:  python3.11 %s\n"
        % (sys.version_info[0], sys.version_info[1], sys.executable, " ".join(sys.argv))
    )
    sys.exit(2)

from starter.main import main

if __name__ == "__main__":
    sys.exit(main())

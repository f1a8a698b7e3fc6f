"""do_nothing.py MODULE: import a module, or run the command line's help with ``--help``."""

from __future__ import annotations

import importlib
import sys

if sys.argv[1] == "--help":
    import contextlib
    import io

    from cellkey.cli import main

    sys.argv = ["cellkey", "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
elif sys.argv[1] != "nothing":
    importlib.import_module(sys.argv[1])
print("{}")

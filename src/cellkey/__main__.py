"""``python -m cellkey``: the same program as the command ``cellkey``."""

from __future__ import annotations

from cellkey.cli import main

if __name__ == "__main__":
    main()

"""``cellkey batch`` under the name that its layout is documented with.

python batch_process_all_tissues.py --data-root data --tissues brain breast --preview
"""

import sys

from cellkey.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["batch"]
    main()

"""`python -m dsm_hpc` is `dsm`."""

import sys

from dsm_hpc.cli import main

if __name__ == "__main__":
    sys.exit(main())

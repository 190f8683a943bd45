"""`python -m dsm_hpc` is `dsm`."""

from dsm_hpc.cli import main

if __name__ == "__main__":
    main()

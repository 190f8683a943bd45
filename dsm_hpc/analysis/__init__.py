"""Reading results: safe opening, statistics over samples, tables and figures.  No MPI, nothing is written
but the figure that was asked for."""

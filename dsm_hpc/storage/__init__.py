"""What is kept on disk: the results file, checkpoints, the sign of life, the points of a scan, provenance."""

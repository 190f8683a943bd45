"""One module per kind of figure; each has `draw`, which takes opened results and returns a figure."""

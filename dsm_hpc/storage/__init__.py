"""The results file: its layout, who writes it and how, and where a run came from."""

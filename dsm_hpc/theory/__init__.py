"""Theory of the dense limit, and message passing on single samples."""

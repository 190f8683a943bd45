"""How numbers and curves look, in text and in figures: what analysis, theory and manifold share."""

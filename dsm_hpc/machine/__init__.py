"""What is simulated: wiring, teacher, inputs, one sample, and the symmetries of its overlaps."""

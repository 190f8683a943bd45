"""Walkers (one student at one temperature) and the times at which they are measured."""

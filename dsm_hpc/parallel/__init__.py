"""Walkers <-> ranks: who has what, and what ranks tell each other."""

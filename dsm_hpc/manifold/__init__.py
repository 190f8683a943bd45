"""The hidden manifold model: online learning of two-layer networks on structured inputs, and its theory.

PHYSICS section 4; S. Goldt, M. Mézard, F. Krzakala, L. Zdeborová, Phys. Rev. X 10, 041044 (2020),
arXiv:1909.11500 (HMM).  Arrays in, arrays out: only command, worker, storage and inputfile know of ranks
and files.
"""

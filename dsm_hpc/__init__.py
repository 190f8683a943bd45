"""dsm_hpc: Monte Carlo and theory of learning in deep perceptron networks."""

__version__ = "0.1.0"

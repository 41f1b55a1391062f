"""The systems of ``deployments/systems``, each set up on real parts for tests and benchmarks."""

"""The systems of `deployments/systems` set up on real parts, each by its stand-in of `examples`."""

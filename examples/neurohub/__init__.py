"""A stand-in of F2X NeuroHub: a manufacturing execution system whose database is refactored."""

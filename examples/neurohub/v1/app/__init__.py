"""F2X NeuroHub: lots, serial numbers and what was measured on them."""

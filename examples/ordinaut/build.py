"""Lays the versions out: ``python -m examples.ordinaut.build --to DIR [--versions v1 v2 v3]``."""

from __future__ import annotations

from pathlib import Path

from examples.layers import Layers

LAYERS = Layers(Path(__file__).parent)
build = LAYERS.build

if __name__ == "__main__":
    LAYERS.main()

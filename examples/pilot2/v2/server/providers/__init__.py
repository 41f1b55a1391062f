"""The providers: each module of this package is one, so that one which is renamed away is gone."""

from __future__ import annotations

import sys

from provider_registry import ProviderRegistry

registry = ProviderRegistry()
registry.load(sys.modules[__name__])

"""A sampler that knows what candidates cost."""

from stdc_search.search.known_cost.sampler import STARTUP, KnownCostSampler

__all__ = ["STARTUP", "KnownCostSampler"]

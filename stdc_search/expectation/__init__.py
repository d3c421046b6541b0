"""The scores that the networks of a search would have on average over all seeds, as far as records tell."""

from stdc_search.expectation.networks import LIMITS, Expected, expected, front_of, networks, pooled

__all__ = ["LIMITS", "Expected", "expected", "front_of", "networks", "pooled"]

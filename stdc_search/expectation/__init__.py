"""Expected scores: what the networks of a search would score on average over all seeds, estimated from records."""

from stdc_search.expectation.networks import DEVIATIONS, Expected, expected, front_of, networks, pooled, skills

__all__ = ["DEVIATIONS", "Expected", "expected", "front_of", "networks", "pooled", "skills"]

"""k-means: flat, hierarchical, and what balanced sampling makes of it."""

from curation.kmeans.assign import assign
from curation.kmeans.lloyd import Fit, Pass, fit
from curation.kmeans.seeding import plus_plus

__all__ = ["Fit", "Pass", "assign", "fit", "plus_plus"]

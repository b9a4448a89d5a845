"""The learning-rate range test's judge: loss against rate -> a rate and the reason, or the reason why there is none.

>>> from lightcycle.finder import Curve, suggest
>>> lrs = [10 ** (k / 10 - 5) for k in range(50)]
>>> print(suggest(Curve(lrs, [[2.0 + 0.1 * k for k in range(50)]])).lr)
None
"""

from lightcycle.finder.bounds import Bounds, accuracy_bound, bounds
from lightcycle.finder.curve import Curve
from lightcycle.finder.record import from_dict, to_dict
from lightcycle.finder.rules import RULES, Suggestion, suggest, suggest_all

__all__ = ["RULES", "Bounds", "Curve", "Suggestion", "accuracy_bound", "bounds", "from_dict", "suggest", "suggest_all",
           "to_dict"]  # fmt: skip

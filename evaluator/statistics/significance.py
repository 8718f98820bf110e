"""What counts as shown: the level of every test, and the normal quantiles that go with it."""

from __future__ import annotations

# A difference counts as showable when 80 % of repetitions would find it at 5 %, two-sided.
SIGNIFICANCE = 0.05
# Normal quantiles of 1 - SIGNIFICANCE / 2 and 0.8, written out: SciPy takes longer to import than
# most commands take to answer.
CRITICAL = 1.959963984540054
POWER_MARGIN = 0.8416212335729143

"""Work begun before it is asked for, within a bound."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def ahead(steps: Iterable[Item], count: int) -> Iterator[Item]:
    """The steps in order, ``count`` of them drawn before the first is handed on.

    Of a generator that submits to a pool: so many parts are at work or done at any time.
    """
    rest = iter(steps)
    waiting = deque(itertools.islice(rest, count))
    while waiting:
        yield waiting.popleft()
        waiting.extend(itertools.islice(rest, 1))

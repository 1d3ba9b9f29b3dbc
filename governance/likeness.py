"""Makes a wrapper look like what it wraps, without handing that out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

Wrapper = TypeVar("Wrapper", bound=Callable[..., object])


def like(original: Callable[..., object]) -> Callable[[Wrapper], Wrapper]:
    """`functools.wraps` without `__wrapped__`: one attribute would otherwise lead past the governed method."""

    def dress(wrapper: Wrapper) -> Wrapper:
        functools.update_wrapper(wrapper, original)
        own = vars(wrapper)
        del own["__wrapped__"]
        try:
            own["__signature__"] = inspect.signature(original)
        except ValueError:
            pass  # a builtin that tells nothing of its parameters
        return wrapper

    return dress

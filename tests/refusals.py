"""The line with which a call is refused."""

from collections.abc import Callable
from typing import Any

import pytest


def refused_line(kind: type[Exception], call: Callable[..., object], *args: Any, **options: Any) -> str:
    """Return the message of the error that a call raises, which is one line."""
    with pytest.raises(kind) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)

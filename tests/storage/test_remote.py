"""Waiting for tensorstore."""

import pytest
import tensorstore as ts

from pvn.errors import UserError
from pvn.storage.remote import result_of


def test_a_result_that_does_not_come_is_one_line() -> None:
    promise, future = ts.Promise.new()
    with pytest.raises(UserError, match=r"^dataset d: cannot be read: no answer within 0\.05 s$"):
        result_of("dataset d", "cannot be read", future, 0.05)
    promise.set_result(7)
    assert result_of("dataset d", "cannot be read", future, 0.05) == 7

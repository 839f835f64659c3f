"""Certificates made once, and a watch on blocking calls from margod's code inside the event loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx

from tests.support.rawserver import Certificates


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """The CA that the tested client trusts."""
    return Certificates()


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Any call that blocks the loop from below margod.wfm is an error."""
    with blockbuster_ctx("margod.wfm"):
        yield

"""Bad networks: the short part of the campaign, over real namespaces."""

from __future__ import annotations

import pytest

from tests.faults.campaign import carry_out
from tests.faults.network import network
from tests.system.lan import missing

pytestmark = pytest.mark.system


def test_onboarding_over_bad_networks() -> None:
    """Connections that are reset within TLS records, no name server: said as long as it lasts, enrolled soon after."""
    if why := missing():
        pytest.skip(why)
    run = carry_out(network, seed=4, scale=0.1)
    assert len(run.figures) == 2

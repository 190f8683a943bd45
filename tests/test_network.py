"""One job on two hosts whose link is cut: it ends in time, and goes on where one host is left."""

from pathlib import Path

import pytest
from faults import network

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


@pytest.mark.timeout(1800)
def test_a_cut_link_ends_every_rank_and_the_run_goes_on_on_one_host(tmp_path: Path) -> None:
    reason = network.available()
    if reason is not None:
        pytest.skip(reason)
    outcome = network.campaign(tmp_path, cuts=2)
    assert outcome.lost == []
    assert max(outcome.seconds) < network.ENDS_WITHIN
    assert (outcome.cuts, outcome.resumed, outcome.bytes_that_differ) == (2, 2, 0)

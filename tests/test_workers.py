"""The workers that share the tests: what is expensive to make is made in one of them."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
@pytest.mark.xdist_group("together")
def test_the_tests_of_a_group_go_to_one_worker(request: pytest.FixtureRequest) -> None:
    # xdist tells the group by this suffix; without it, any worker takes any test.
    assert request.node.nodeid.endswith("@together")

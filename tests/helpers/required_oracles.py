"""A pytest plugin: with ``--oracles-required``, an oracle test that is skipped is a failure."""

import os

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--oracles-required",
        action="store_true",
        help="a skipped oracle test fails, unless it wants LIVECAM_DATA, which is unset",
    )


def _unless_excused(report, config):
    """Turn a skip into a failure where oracles are required."""
    if report.skipped and not hasattr(report, "wasxfail") and config.getoption("--oracles-required"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "LIVECAM_DATA" not in reason or os.environ.get("LIVECAM_DATA"):
            report.outcome, report.longrepr = "failed", f"An oracle that is skipped proves nothing. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    return _unless_excused(report, item.config) if item.get_closest_marker("oracle") else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    # A module that skips as a whole (importorskip at its top) has no items left to carry the marker.
    report = yield
    return _unless_excused(report, collector.config)

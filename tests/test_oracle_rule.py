"""CI must notice when an oracle is not there to disagree."""

from pathlib import Path

import pytest

QUICK = ["-p", "no:hypothesispytest", "-p", "no:cacheprovider"]
TESTS = """
import pytest

@pytest.mark.oracle
def test_library_absent():
    pytest.importorskip("no_such_library")

@pytest.mark.oracle
@pytest.mark.skipif(True, reason="somebody's idea")
def test_skipped_by_mark(): pass

@pytest.mark.oracle
def test_wants_photos(): pytest.skip("LIVECAM_DATA is not set")

@pytest.mark.oracle
@pytest.mark.xfail(reason="a known difference")
def test_differs(): assert False

@pytest.mark.oracle
def test_agrees(): pass

def test_no_oracle(): pytest.skip("no chromium")
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("LIVECAM_DATA", raising=False)
    pytester.makeconftest((Path(__file__).parent / "helpers" / "required_oracles.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n    oracle: compares")
    return pytester


def test_skipped_oracles_fail_where_they_are_required(project):
    project.makepyfile(TESTS)
    result = project.runpytest_inprocess(*QUICK, "--oracles-required")
    result.assert_outcomes(passed=1, skipped=2, xfailed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["FAILED*::test_library_absent*", "ERROR*::test_skipped_by_mark*"])


def test_wanting_photos_is_no_excuse_where_they_are(project, monkeypatch):
    monkeypatch.setenv("LIVECAM_DATA", "/somewhere")
    project.makepyfile(TESTS)
    project.runpytest_inprocess(*QUICK, "--oracles-required").assert_outcomes(
        passed=1, skipped=1, xfailed=1, failed=2, errors=1
    )


def test_a_module_that_skips_as_a_whole_fails(project):
    project.makepyfile("import pytest\npytest.importorskip('no_such_library')")
    result = project.runpytest_inprocess(*QUICK, "--oracles-required")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no_such_library*"])

"""Skipped tests in CI."""

import os

import pytest

from experiments.certification import extended_precision as extended

ABSENT_HARDWARE = ("GPU", "TPU")


def refuse_skip(report):
    """In CI a skipped test fails, unless it names absent hardware."""
    if os.environ.get("CI") != "true" or not report.skipped:
        return report
    if hasattr(report, "wasxfail"):
        return report
    reason = str(report.longrepr)
    if not any(name in reason for name in ABSENT_HARDWARE):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}"
    return report


def needs_extended():
    """Skips a test if the CPU has no 80-bit numbers to measure rounding with."""
    if not extended.has_extended():
        pytest.skip("no 80-bit arithmetic: neither this CPU nor any GPU or TPU has it")

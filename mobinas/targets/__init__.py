"""Targets (the settings of a device) and measurements (what was seen on one); standard library only."""

FAKE_PROVIDER = "fake"

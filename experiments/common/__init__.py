"""Shared by all programs: flags, errors, files, signals, processes of ours."""

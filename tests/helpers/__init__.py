"""Shared by tests: dense matrices, golden files, jaxprs, a registry of layers."""

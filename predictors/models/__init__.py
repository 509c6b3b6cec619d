"""Regressors from kernels to latency."""

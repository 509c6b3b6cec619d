"""Settings of the whole suite."""

import os

import pytest

# Before torch loads, and for all processes that tests start: the networks here are far too small for several
# threads, and a thread that waits for another spins, which stalls everything where a core is busy (a smoke
# job beside other programs: 55 s of CPU time with one thread, 158 s with two).
os.environ["OMP_NUM_THREADS"] = "1"

pytest.register_assert_rewrite("mobinas.testing")

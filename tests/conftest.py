"""Settings of the whole suite."""

import pytest

pytest.register_assert_rewrite("mobinas.testing")

"""Commands that only tell."""

from typer.testing import CliRunner

from mobinas.cli import app
from mobinas.supernet.guards import GUARDS
from mobinas.supernet.methods import METHODS


def test_methods_lists_everything_with_its_measured_cost() -> None:
    result = CliRunner().invoke(app, ["methods"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for name in METHODS:
        assert name in lines
    for name in GUARDS:
        assert any(line.startswith(f"  {name}: ") for line in lines)
    assert sum("measured: " in line for line in lines) == len(METHODS)
    assert "benchmarks/search_cost.py" in result.output

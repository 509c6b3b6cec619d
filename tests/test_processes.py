"""A script without a main guard is told so at once, where its worker processes would run it again."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mobinas.processes import _is_guarded, check_main_guard

RUN = "import mobinas\n{}mobinas.run(mobinas.load_config('smoke', {{{}}}), 'out')\n"
SEARCH = """
from mobinas import ChoiceSpace, Objective, pareto_search
def evaluate(choices):
    return {{"x": choices["a"]}}
{}pareto_search(ChoiceSpace({{"a": (1, 2)}}), "{}:evaluate", (Objective("x", "maximize"),),
    n_trials=2, workers=1, storage="study")
"""
GUARD = 'if __name__ == "__main__": '


def said_by(script: str, folder: Path, *, name: str = "script.py", with_m: bool = False) -> tuple[int, str]:
    (folder / name).write_text(script)
    command = ["-m", name.removesuffix(".py")] if with_m else [name]
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    "script",
    [
        RUN.format("", "'train.workers': 2"),
        RUN.format("", "'train.workers': 2, 'device': 'cpu'"),
        "def main():\n    import mobinas; mobinas.run('smoke', 'out')\nmain()\n".replace(
            "'smoke'", "mobinas.load_config('smoke', {'train.workers': 3})"
        ),
        SEARCH.format("", "script"),
        SEARCH.format("", "script.py"),
        SEARCH.format("if True: ", "./script.py"),
    ],
)
def test_a_missing_guard_is_said_before_anything_is_done(script: str, tmp_path: Path) -> None:
    code, said = said_by(script, tmp_path)
    last = said.splitlines()[-1]
    assert code == 1 and last.startswith("mobinas.errors.ConfigError: script.py, line ")
    assert "below 'if __name__ == \"__main__\":'" in last
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]
    assert said.count("Traceback") == 1


def test_with_python_m_alike(tmp_path: Path) -> None:
    code, said = said_by(SEARCH.format("", "script"), tmp_path, with_m=True)
    assert code == 1 and "call pareto_search() below" in said.splitlines()[-1]


@pytest.mark.parametrize("where", ["script.py", "other"])
def test_what_workers_may_import_runs(where: str, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def evaluate(choices):\n    return {'x': choices['a']}\n")
    code, said = said_by(SEARCH.format(GUARD if where == "script.py" else "", where), tmp_path)
    assert code == 0, said


@pytest.mark.parametrize(
    ("text", "guarded"),
    [
        ("call()", False),
        ("if __name__ == '__main__':\n    call()", True),
        ("if '__main__' == __name__ and True: call()", True),
        ("if True:\n    if __name__ == '__main__': pass\n    call()", False),
        ("if __name__ == '__main__':\n    pass\ncall()", False),
        ("if __name__ != '__main__':\n    raise SystemExit\ncall()", True),
        ("if __name__ != '__main__':\n    pass\nelse:\n    call()", True),
        ("if True:\n    call()", False),
        ("with open('x'):\n    call()", False),
        ("try:\n    call()\nfinally:\n    pass", False),
    ],
)
def test_guards_are_recognised(text: str, guarded: bool) -> None:
    line = 1 + text[: text.index("call()")].count("\n")
    assert _is_guarded(ast.parse(text), line) == guarded


def test_here_nothing_is_missing() -> None:
    check_main_guard("run")

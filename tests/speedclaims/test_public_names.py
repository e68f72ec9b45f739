"""The public names of the package: documented, typed, and importable without importing anything heavy."""

import subprocess
import sys
import textwrap

import pytest

import speedclaims
from speedclaims import Claim, Pair, Result, SpeedclaimsError, Verdict, __version__, load_record

USER = """
from pathlib import Path

from speedclaims import Claim, Pair, Result, SpeedclaimsError, Verdict, __version__, load_record


def test_mine(pair: Pair) -> None:
    result: Result = pair(before=lambda: sum(range(1000)), after=lambda: sum(range(10)))
    verdict: Verdict | None = result.verdict
    assert result.low > 1 and verdict is None


def speedups(path: Path) -> list[float]:
    try:
        record = load_record(path)
    except SpeedclaimsError as error:
        raise SystemExit(f"{__version__}: {error}") from None
    return [row["speedup"] for row in record["speedclaims"]["pairs"] if row["speedup"] is not None]


def bounds(claim: Claim) -> tuple[float | None, float | None]:
    return claim.low, claim.high
"""


def test_every_public_name_is_there_and_documented():
    assert set(speedclaims.__all__) <= set(dir(speedclaims)) | set(speedclaims._WHERE)
    for thing in (Claim, Pair, Result, SpeedclaimsError, load_record):
        assert thing.__doc__
    assert "confirmed" in str(Verdict)
    assert __version__[0].isdigit()


def test_what_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'Pears'"):
        _ = speedclaims.Pears


def test_importing_the_package_imports_none_of_its_modules_but_the_errors():
    code = "import sys, speedclaims; print(sorted(m for m in sys.modules if m.startswith('speedclaims.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['speedclaims.errors']"


def test_somebody_s_file_that_uses_them_is_typed(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "test_mine.py").write_text(textwrap.dedent(USER))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_all_errors_have_one_base(tmp_path):
    with pytest.raises(SpeedclaimsError, match="cannot be read"):
        load_record(tmp_path / "none.json")

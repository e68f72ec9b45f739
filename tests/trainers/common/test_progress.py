"""The progress of a training: plain lines in a file or a pipe, one bar on a terminal, which is restored."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.common.progress import EpochProgress

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from trainers.common.progress import EpochProgress
with EpochProgress(3, 1) as progress:
    progress.step_done(0.5, "loss 0.9")
    print("a log line", file=sys.stderr)
    progress.epoch_done("loss 0.8")
    {last}
"""


def shown_on_a_terminal(last):
    parent, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(last=last)], cwd=ROOT, stderr=terminal, env=environment
    )
    os.close(terminal)
    seen = b""
    try:
        while chunk := os.read(parent, 65536):
            seen += chunk
    except OSError:  # Linux says so when nobody has the terminal open any more
        pass
    os.close(parent)
    process.wait(timeout=60)
    return seen.decode()


def test_without_a_terminal_each_epoch_is_one_line_and_nothing_else_is_said(capsys):
    with EpochProgress(3, 1) as progress:
        progress.step_done(0.5, "loss 0.9")
        progress.epoch_done("loss 0.8")
        progress.epoch_done("[red]loss[/red] 0.7")
    assert capsys.readouterr() == ("", "epoch 2/3  loss 0.8\nepoch 3/3  [red]loss[/red] 0.7\n")


def test_on_a_terminal_a_log_line_stays_above_the_bar():
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown_on_a_terminal("pass"))
    lines = [line.split("\r")[-1] for line in text.replace("\r\n", "\n").splitlines()]
    assert "a log line" in lines
    assert lines.index("a log line") < len(lines) - 1
    assert re.match(r"loss 0\.8 .* 2/3$", lines[-1].rstrip())


@pytest.mark.parametrize("last", ["pass", "raise KeyboardInterrupt"])
def test_the_terminal_s_cursor_is_shown_again_however_a_training_ends(last):
    text = shown_on_a_terminal(last)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h")

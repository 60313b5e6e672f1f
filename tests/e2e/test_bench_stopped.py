"""A benchmark that is stopped leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

_AT_A_TERMINAL = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's & ignores it
    "from feederloop.cli import main; main()"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_benchmark_that_is_stopped_leaves_no_process_and_no_folder(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Also where all of a terminal's processes are told, as Ctrl-C does; the keys of the run go with it."""
    words = ("bench", "vtn", "--over", "plain", "--rounds", "1000", "--vens", "1")
    with subprocess.Popen(
        (sys.executable, "-c", _AT_A_TERMINAL, *words),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as bench:
        assert bench.stderr is not None
        said = [bench.stderr.readline()]
        while "round 1 " not in said[-1]:
            assert said[-1], said
            said.append(bench.stderr.readline())
        assert list(tmp_path.iterdir())
        os.killpg(bench.pid, number)
        said.append(bench.stderr.read())  # ends when the last one that holds it has
        assert bench.wait() == 130
    assert "Traceback" not in "".join(said)
    assert list(tmp_path.iterdir()) == []

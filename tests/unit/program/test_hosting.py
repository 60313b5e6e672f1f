"""A VTN host that cannot start leaves nothing open."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feederloop.clock import WallClock
from feederloop.hosting import VtnHost
from vtn_server.settings import VtnSettings, no_reports


def host(folder: Path) -> VtnHost:
    return VtnHost(
        settings=VtnSettings(vtn_id="vtn-1"),
        database=folder / "vtn.sqlite",
        now=lambda: datetime(2026, 5, 16, tzinfo=UTC),
        report_plan=no_reports,
        seed=1,
    )


@pytest.mark.enable_socket
async def test_a_port_that_is_taken_leaves_the_store_free(tmp_path: Path) -> None:
    made = host(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made._port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await made.start()
    await made.start()  # the file would still be in use
    assert made.url.startswith("http")
    await made.stop()


async def test_the_wall_never_wakes_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is set back by a minute while somebody sleeps, and forward by an hour."""
    clock, slept = WallClock(), []
    now = datetime(2026, 5, 16, tzinfo=UTC).timestamp()
    at = [now]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        at[0] += seconds
        if len(slept) == 3:
            at[0] -= 60.0
        if len(slept) == 6:
            at[0] += 3600.0

    monkeypatch.setattr("feederloop.clock.asyncio.sleep", sleep)
    monkeypatch.setattr(WallClock, "now", lambda self: datetime.fromtimestamp(at[0], UTC))
    await clock.sleep_until(datetime.fromtimestamp(now + 300.0, UTC), 3, "x")
    assert at[0] >= now + 300.0
    assert max(slept) <= 30.0
    assert len(slept) == 6, "it looks at the clock, and sees at once that the time has come"

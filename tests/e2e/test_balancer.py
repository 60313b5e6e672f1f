"""Two VTN processes behind a real haproxy and a real nginx with the configurations of docs/operating.md.

VENs work over mutual TLS all the time, some through the one, some through the other; one process is killed
and comes back, then the other one is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from _pytest.mark import ParameterSet

from tests.e2e import front_rig as front
from tests.e2e.balancer_rig import BalancedHome, Machine, Site, prepare
from tests.e2e.kill9_child import VENS
from tests.e2e.kill9_day import Utility
from tests.e2e.kill9_ledger import Ledger, VenLedger, compare
from tests.e2e.test_programs import PATIENCE_S
from tests.e2e.tls_parties import HOST

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.slow]

DOCUMENT = "operating.md"
WITHIN_S = 30.0
"""How long a VEN may have no answer when a process is gone. It takes less than a second; a busy machine and
one whole timeout of a reply are no fault."""
HAPROXY = """
global
    log stdout format raw local0 info
defaults
    log global
"""
NGINX = """
{load}
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
{stream}
"""


@contextmanager
def haproxy(folder: Path, machines: list[Machine]) -> Iterator[int]:
    """Run haproxy with the text of the document."""
    own = folder / "pki" / "issued" / "operator" / "haproxy"
    check = folder / "check.pem"
    check.write_text("".join((own / name).read_text("ascii") for name in ("ec.pem", "ec.key")), "ascii")
    changes = [
        ("10.0.0.11:8443", machines[0].place),
        ("10.0.0.12:8443", machines[1].place),
        ("/etc/haproxy/trust.pem", str(folder / "pki" / "trust.pem")),
        ("/etc/haproxy/check.pem", str(check)),
        ("vtn.example", "localhost"),
        ("maxconn 11000", "maxconn 100"),
    ]

    def text(address: str) -> str:
        section = front.changed(front.block(DOCUMENT, "haproxy"), changes)
        return HAPROXY + front.changed(section, [("bind :8443", f"bind {address}")])

    with front.running_haproxy(folder, text) as port:
        yield port


@contextmanager
def nginx(folder: Path, machines: list[Machine]) -> Iterator[int]:
    """Run nginx with the text of the document."""

    def text(port: int) -> str:
        stream = front.changed(
            front.block(DOCUMENT, "nginx"),
            [
                ("10.0.0.11:8443", machines[0].place),
                ("10.0.0.12:8443", machines[1].place),
                ("listen 8443", f"listen {HOST}:{port}"),
                ("/var/log/nginx", str(folder)),
            ],
        )
        return NGINX.format(load=front.stream_line(), user=front.user_line(), folder=folder, stream=stream)

    with front.running_nginx(folder, text) as port:
        yield port


Balancer: TypeAlias = Callable[[Path, list[Machine]], AbstractContextManager[int]]
MISSING: dict[Balancer, str | None] = {
    haproxy: None if front.HAPROXY else "haproxy is not installed (apt-get install haproxy)",
    nginx: None
    if front.stream_line() is not None
    else "nginx has no stream module (apt-get install nginx libnginx-mod-stream)",
}


def choices() -> list[ParameterSet]:
    """Return the balancers that are there, to be tried at once, and each that is not, with the reason."""
    there = [each for each, reason in MISSING.items() if reason is None]
    together = [pytest.param(there, id="+".join(each.__name__ for each in there))] if there else []
    return together + [
        pytest.param([each], id=each.__name__, marks=pytest.mark.skip(reason=reason))
        for each, reason in MISSING.items()
        if reason is not None
    ]


async def haproxy_says(folder: Path, what: str) -> None:
    """Return when haproxy has said something about the process that is killed."""
    said = folder / "haproxy.out"
    async with asyncio.timeout(PATIENCE_S):
        while f"Server vtn/a is {what}" not in said.read_text("utf-8"):
            await asyncio.sleep(0.1)  # another process has to do something


@pytest.mark.parametrize("balancers", choices())
async def test_nothing_is_lost_while_one_is_killed_and_the_other_one_stopped(
    balancers: list[Balancer], postgres_url: str, tmp_path: Path
) -> None:
    prepare(tmp_path)
    ledger = Ledger(vens={each: VenLedger() for each in VENS})
    async with AsyncExitStack() as stack:
        first, second = machines = [
            Machine(tmp_path, address, postgres_url, stack) for address in ("127.0.0.11", "127.0.0.12")
        ]
        await asyncio.gather(first.start(), second.start())
        ports = [stack.enter_context(each(tmp_path, machines)) for each in balancers]
        sites = [Site(machines=machines, port=port) for port in ports]
        homes = [
            BalancedHome(number, sites[number % len(sites)], ledger.vens[each], tmp_path / "pki")
            for number, each in enumerate(VENS)
        ]

        async def all_go_on(answers: int) -> None:
            await asyncio.gather(*(each.goes_on(answers, WITHIN_S) for each in homes))

        async with asyncio.TaskGroup() as group:
            utility = group.create_task(Utility(sites[0], ledger, seed=1).work())
            living = [group.create_task(each.live()) for each in homes]
            await all_go_on(20)
            assert min([await each.served() for each in machines]) > 10  # both have a part of the work
            await first.kill()
            await all_go_on(20)
            if haproxy in balancers:
                await haproxy_says(tmp_path, "DOWN")
            await first.start()
            if haproxy in balancers:  # by GET /ready over mutual TLS
                await haproxy_says(tmp_path, "UP, reason: Layer7 check passed, code: 200")
            await second.stop()
            await all_go_on(20)
            utility.cancel()
            async with asyncio.timeout(PATIENCE_S):
                while ledger.missing():
                    await asyncio.sleep(0.05)  # VENs poll
            for each in living:
                each.cancel()
        await first.stop()
        await compare(postgres_url, ledger)
        assert ledger.facts() > 100  # it was no idle day
        assert [line for each in machines for line in each.lines() if line["level"] == "error"] == []

"""Programs in front of a VTN, with the texts of documents, on sockets they inherit: no port is guessed."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.e2e.tls_parties import HOST

DOCUMENTS = Path(__file__).parents[2] / "docs"
STOP_S = 10.0


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


NGINX = _find("nginx")
HAPROXY = _find("haproxy")


def block(document: str, language: str) -> str:
    """Return the one block of a document that is in a language."""
    text = (DOCUMENTS / document).read_text(encoding="utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


def changed(text: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return a text of a document with the paths and ports of a test; each of the old ones must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def user_line() -> str:
    """Return who nginx's workers shall be: those of root's become somebody who may not write where we may."""
    return f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""


@cache
def stream_line() -> str | None:
    """Return the line that loads nginx's stream module, empty where it is built in; None without one."""
    if NGINX is None:
        return None
    built = subprocess.run([NGINX, "-V"], capture_output=True, text=True, check=True).stderr
    if re.search(r"--with-stream(\s|$)", built):
        return ""
    folder = re.search(r"--modules-path=(\S+)", built)
    module = Path(folder.group(1) if folder else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    return f"load_module {module};" if module.exists() else None


@contextmanager
def running_nginx(folder: Path, text: Callable[[int], str]) -> Iterator[int]:
    """Run nginx, and yield its port.

    Args:
        folder: Where it works.
        text: Returns its configuration, which listens on :data:`HOST` and a port.
    """
    assert NGINX is not None
    with _door() as (number, port):
        file = folder / "nginx.conf"
        file.write_text(text(port), encoding="utf-8")
        command = [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]
        subprocess.run([*command, "-t", "-q"], check=True)
        with _running(command, number, {"NGINX": f"{number};"}, folder / "nginx.out"):
            yield port


@contextmanager
def running_haproxy(folder: Path, text: Callable[[str], str]) -> Iterator[int]:
    """Run haproxy, and yield its port; what it says is in ``haproxy.out``.

    Args:
        folder: Where it works.
        text: Returns its configuration, which listens on an address that is given.
    """
    assert HAPROXY is not None
    with _door() as (number, port):
        file = folder / "haproxy.cfg"
        file.write_text(text(f"fd@{number}"), encoding="utf-8")
        with _running([HAPROXY, "-db", "-f", str(file)], number, {}, folder / "haproxy.out"):
            yield port


@contextmanager
def _door() -> Iterator[tuple[int, int]]:
    """Hold a socket that listens; yield its file number and port."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        listening.set_inheritable(True)
        yield listening.fileno(), listening.getsockname()[1]


@contextmanager
def _running(
    command: Sequence[str], number: int, environment: Mapping[str, str], said: Path
) -> Iterator[None]:
    with (
        said.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            command, env=dict(environment), pass_fds=(number,), stdout=out, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield
            assert process.poll() is None, said.read_text(encoding="utf-8")
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

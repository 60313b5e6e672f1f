"""``feederloop certs``, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from feederloop.certs_cli import certs_app
from feederloop.cli import app


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(certs_app, list(words))
    assert result.exit_code == code, result.output
    assert "PRIVATE" not in result.output
    return result


def test_is_registered() -> None:
    result = CliRunner().invoke(app, ["certs", "--help"])
    assert result.exit_code == 0
    for command in ("init", "issue", "fingerprint", "import", "list", "rotate", "revoke", "check"):
        assert command in result.output


def test_the_life_of_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("init")
    run("init", code=2)
    issued = run("issue", "vtn", "vtn.example", "--host", "127.0.0.1", "--kind", "ec").output
    assert issued.count("pki/issued/vtn/vtn.example/") == 1
    path, printed = issued.split()
    run("issue", "ven", "ven-1")
    run("issue", "ven", "../x", code=2)
    assert run("fingerprint", path).output.split()[0] == printed
    run("check", path, "--server", "--host", "127.0.0.1")
    assert "does not name" in run("check", path, "--server", "--host", "x", code=1).output
    listed = run("list").output.splitlines()
    assert len(listed) == 3
    assert printed in listed[0]
    run("rotate", "ven", "ven-1")
    assert len(run("list").output.splitlines()) == 5
    assert run("revoke", printed.lower()).output.startswith("revoked vtn vtn.example ec")
    assert "revoked" in run("check", path, "--server", "--crl", "pki/crl.pem", code=1).output
    run("revoke", "ven/nobody", code=2)
    assert run("revoke").output.startswith("lists in")
    assert "revoked" in run("list").output.splitlines()[0]


def test_import(made: Path, tmp_path: Path) -> None:
    base = made / "issued/ven/ven-1"
    words = ["import", str(base / "ec.key"), str(base / "ec.pem"), str(made / "trust.pem"), "--name", "v"]
    out = tmp_path / "out"
    said = run(*words, "--out", str(out), "--dry-run").output
    assert "fingerprint" in said
    assert not out.exists()
    run(*words, "--out", str(out))
    assert (out / "v.key").read_bytes() == (base / "ec.key").read_bytes()
    run(*words, "--out", str(out), code=2)
    run("import", str(tmp_path / "missing"), "--name", "v", code=2)

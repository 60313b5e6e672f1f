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
    refused = run("issue", "vtn", "dso2", "--host", "not a host!", code=2).output
    assert "'not a host!' is neither a host name nor an IP address" in refused
    assert not Path("pki/issued/vtn/dso2").exists()
    assert run("fingerprint", path).output.split()[0] == printed
    run("check", path, "--server", "--host", "127.0.0.1")
    assert "does not name" in run("check", path, "--server", "--host", "x", code=1).output
    listed = run("list").output.splitlines()
    assert len(listed) == 3
    assert printed in listed[0]
    run("rotate", "ven", "ven-1")
    assert len(run("list").output.splitlines()) == 5
    assert run("revoke", printed.lower()).output.startswith("revoked vtn vtn.example ec")
    assert "is revoked" in run("check", path, "--server", "--crl", "pki/crl.pem", code=1).output
    assert "is revoked" in run("check", path, "--server", code=1).output
    run("revoke", "ven/nobody", code=2)
    assert run("revoke").output.startswith("lists in")
    assert "revoked" in run("list").output.splitlines()[0]


def test_check_says_when_no_revocation_list_was_looked_at(folder: Path) -> None:
    words = ["check", str(folder / "issued/ven/ven-1/ec.pem"), "--trust", str(folder / "trust.pem")]
    assert run(*words).output.splitlines()[1:] == ["accepted"]
    (folder / "crl.pem").rename(folder / "lists.pem")
    said = run(*words).output
    assert "no revocation list was looked at" in said
    assert said.splitlines()[-1] == "accepted, unless it is revoked"
    assert run(*words, "--crl", str(folder / "lists.pem")).output.splitlines()[1:] == ["accepted"]
    run(*words, "--crl", str(folder / "crl.pem"), code=2)  # a list that was asked for must be there


def test_a_folder_stands_for_its_certificates(folder: Path) -> None:
    party, trust = folder / "issued/ven/ven-1", str(folder / "trust.pem")
    printed = [line.split() for line in run("fingerprint", str(party)).output.splitlines()]
    assert [path for _, path in printed] == [str(party / "ec.pem"), str(party / "rsa.pem")]
    said = run("check", str(party), "--trust", trust).output.splitlines()
    assert [line.split()[-1] for line in said] == [printed[0][0], "accepted", printed[1][0], "accepted"]
    run("revoke", printed[0][0], "--pki", str(folder))
    # One that would be refused is enough, wherever it stands.
    said = run("check", str(party), "--trust", trust, code=1).output.splitlines()
    assert said[1::2] == ["refused: the certificate is revoked", "accepted"]
    (party / "ec.pem").unlink()
    assert run("fingerprint", str(party)).output.split() == printed[1]
    (party / "rsa.pem").unlink()
    for command in ("fingerprint", "check"):
        assert "neither ec.pem nor rsa.pem" in run(command, str(party), code=2).output


@pytest.mark.parametrize("words", [["ven", "ven-1"], ["ven/ven-1"]])
def test_revoke_takes_a_party_as_one_word_or_two(folder: Path, words: list[str]) -> None:
    pki = ["--pki", str(folder)]
    run("rotate", "ven", "ven-1", *pki)  # what was rotated out is a party's, too
    said = run("revoke", *words, *pki).output.splitlines()
    assert [" ".join(line.split()[:4]) for line in said[:-1]] == [
        *("revoked ven ven-1 ec", "revoked ven ven-1 rsa", "revoked ven ven-1 ec", "revoked ven ven-1 rsa")
    ]
    revoked = [line.split()[1] for line in run("list", *pki).output.splitlines() if line.endswith("revoked")]
    assert revoked == ["ven-1"] * 4


def test_revoke_takes_files_and_several_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "issued")
    pki = ["--pki", str(folder)]
    first = run("fingerprint", "ven/ven-2/ec.pem").output.split()[0]
    said = run(
        "revoke",
        "ven/ven-2/ec.pem",
        first,
        "vtn",
        "localhost",
        str(folder / "issued/ven/ven-1/rsa.pem"),
        *pki,
    )
    assert [line.split()[1:4] for line in said.output.splitlines()[:-1]] == [
        ["ven", "ven-2", "ec"],  # named twice, revoked once
        ["vtn", "localhost", "ec"],
        ["vtn", "localhost", "rsa"],
        ["ven", "ven-1", "rsa"],
    ]


def test_revoke_of_what_is_not_there_changes_nothing(folder: Path) -> None:
    before = (folder / "crl.pem").read_bytes()
    for words, why in (
        (["ven", "ven-1", "ven", "nobody"], "nothing issued here is called ven nobody"),
        (["ven/ven-1", "vtn/ven-1"], "nothing issued here is called vtn/ven-1"),
        (["ven/ven-1", "ven"], "ven is a role; its NAME is missing"),
        (["ven", "ven-1", "ven-2"], "nothing issued here is called ven-2"),
        ([str(folder / "ca/ec/root.pem")], "was not issued here"),
        ([str(folder / "issued/ven/ven-1/ec.key")], "no certificates"),
        ([str(folder / "issued/ven/ven-1")], "nothing issued here is called"),
    ):
        assert why in run("revoke", *words, "--pki", str(folder), code=2).output
    assert (folder / "crl.pem").read_bytes() == before


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


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_import_of_a_key_that_fits_no_certificate(made: Path, tmp_path: Path, more: list[str]) -> None:
    base, out = made / "issued/ven/ven-1", tmp_path / "out"
    for files, there in (
        ((base / "ec.pem", base / "rsa.key", made / "trust.pem"), "CN=ven-1"),
        ((base / "rsa.key",), "has none"),
    ):
        words = ["import", *map(str, files), "--name", "v8", "--out", str(out), *more]
        said = run(*words, code=2).output
        assert "the private key (RSA 2048) fits no certificate" in said
        assert there in said.splitlines()[-1]
        assert not out.exists()

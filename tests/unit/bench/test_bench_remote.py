"""A VTN at a URL: what is refused before anything is sent, and in which words."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from feederloop.bench.crowd_stage import check_file_limit
from feederloop.bench.files import check_target
from feederloop.bench.load import BenchError, ProcessClock
from feederloop.bench.model import Transport
from feederloop.bench.remote import RemoteVtn
from feederloop.bench_cli import bench_app

URL = "http://127.0.0.1:8080"


def run(*words: str) -> Result:
    return CliRunner().invoke(bench_app, list(words), env={"VTN_OPERATOR__TOKEN": None})


@pytest.mark.parametrize(
    "url", [URL, f"{URL}/", f"{URL}/OpenADR2/Simple/2.0b", f"{URL}/OpenADR2/Simple/2.0b/"]
)
def test_the_address_may_be_the_one_that_vens_are_told(url: str) -> None:
    assert RemoteVtn.of(url, ["a"]).url == URL


def test_a_prefix_stays_in_front_of_the_path() -> None:
    assert RemoteVtn.of(f"{URL}/dso/OpenADR2/Simple/2.0b", ["a"]).url == f"{URL}/dso"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://h", "http://", "http://h:port", "vtn", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BenchError, match="no address of a VTN"):
        RemoteVtn.of(url, ["a"])


def test_a_certificate_may_lie_in_a_folder_of_another_name() -> None:
    vtn = RemoteVtn.of("https://h", ["home-07=ven-7", "home-08"], certs=Path("pki"))
    assert (vtn.names, vtn.folders) == (("home-07", "home-08"), ("ven-7", "home-08"))


def test_the_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    vtn = RemoteVtn.of("https://h", ["home-07=ven-7"], certs=tmp_path)
    with pytest.raises(BenchError, match=r"ven-7/ec\.pem.*NAME=FOLDER"):
        vtn.server(Transport.TLS)


@pytest.mark.parametrize(
    ("url", "vens", "certs", "reason"),
    [
        (URL, [], None, "--ven NAME"),
        (URL, ["a", "a"], None, "named twice"),
        ("https://h", ["a=x", "a=y"], Path("pki"), "named twice"),
        (URL, ["a"], Path("pki"), "http takes none"),
        ("https://h", ["a"], None, "--certs FOLDER"),
    ],
)
def test_what_does_not_go_together_is_refused(
    url: str, vens: list[str], certs: Path | None, reason: str
) -> None:
    with pytest.raises(BenchError, match=reason):
        RemoteVtn.of(url, vens, certs=certs)


def test_certificates_suggest_the_transport_and_bound_it() -> None:
    plain, secured = RemoteVtn.of(URL, ["a"]), RemoteVtn.of("https://h", ["a"], certs=Path("pki"))
    assert (plain.transport(()), secured.transport(())) == (Transport.PLAIN, Transport.TLS)
    assert secured.transport((Transport.SIGNED_EC,)) is Transport.SIGNED_EC
    for vtn, asked in ((plain, Transport.TLS), (secured, Transport.PLAIN)):
        with pytest.raises(BenchError, match="--over"):
            vtn.transport((asked,))


def test_a_process_that_did_nothing_is_not_the_vtn() -> None:
    vtn = RemoteVtn.of(URL, ["a"], pids=(17, 18))
    with pytest.raises(BenchError, match="17, 18 did nothing"):
        vtn.check_clock([0.0, 0.0004])
    vtn.check_clock([0.0, 0.08])
    RemoteVtn.of(URL, ["a"]).check_clock([])


def test_the_clock_of_two_processes_is_their_sum() -> None:
    """One of them is this one, twice: what it takes counts twice."""
    one, two = ProcessClock(os.getpid()), ProcessClock(os.getpid(), os.getpid())
    before_s = one.now_s()
    sum_s = two.now_s()
    assert 2.0 * before_s <= sum_s <= 2.0 * one.now_s()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("vtn", URL, "--ven", "a", "--against", "openleadr"), "--against"),
        (("vtn", URL, "--ven", "a", "--vens", "3"), "--vens"),
        (("vtn", URL, "--ven", "a", "--same-loop"), "--same-loop"),
        (("vtn", "--ven", "a"), "--ven"),
        (("vtn", "--pid", "1"), "--pid"),
        (("vtn", "--operator", "http://127.0.0.1:1"), "--operator"),
        (("vtn", URL, "--ven", "a", "--operator", "http://127.0.0.1:1"), "no token"),
        (("vtn", URL, "--ven", "a", "--token-file", "t"), "--operator"),
    ],
)
def test_options_that_would_do_nothing_are_refused(words: tuple[str, ...], named: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith("feederloop bench: ")
    assert named in done.stderr


@pytest.mark.parametrize("command", ["vtn", "engine", "scale", "fanout", "soak"])
def test_a_file_that_cannot_be_written_is_said_before_the_measurement(command: str, tmp_path: Path) -> None:
    done = run(command, "--json", str(tmp_path / "none" / "figures.json"))
    assert done.exit_code == 2
    assert "figures.json" in done.stderr
    assert done.stdout == ""


def test_looking_at_a_file_leaves_it_as_it_is(tmp_path: Path) -> None:
    there, new = tmp_path / "there.json", tmp_path / "new.json"
    there.write_text("{}")
    check_target(there)
    check_target(new)
    assert there.read_text() == "{}"
    assert not new.exists()


def test_a_crowd_that_cannot_open_its_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1_000))
    check_file_limit(600)
    with pytest.raises(BenchError, match="10000 VENs need 10400 open files, and 1000 are allowed"):
        check_file_limit(10_000)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    check_file_limit(10_000)


def test_a_price_needs_somebody_to_be_told() -> None:
    done = run("fanout", "--vens", "0", "--push", "0")
    assert done.exit_code == 2
    assert "nobody" in done.stderr

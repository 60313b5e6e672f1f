"""``feederloop market verify``, and the files it reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dso_engine.hourly import hour_slots
from dso_engine.market import Order, Side, clear, sequence_number
from dso_engine.model import HomeId
from dso_engine.records import DayAheadRecord, EngineRecord, FaultRecord, MarketRecord
from feederloop.cli import app
from feederloop.market_files import MarketFiles, MarketFilesError, Publishing, write_market
from tests.unit.engine.engine_fakes import Tape

HOUR = datetime(2018, 5, 16, 11, tzinfo=UTC)
SEED = 4
OFFERS = (
    ("H01", Side.BUY, 14, 100),
    ("H02", Side.BUY, 12, 90),
    ("H03", Side.SELL, 9, 70),
    ("H04", Side.SELL, 10, 200),
)


def auctions(hour: datetime) -> list[MarketRecord]:
    found = []
    for slot in hour_slots(hour):
        book = tuple(
            Order(
                home=HomeId(home),
                side=side,
                price_millicent=price,
                volume_wh=wh,
                seq=sequence_number(slot, HomeId(home), SEED),
            )
            for home, side, price, wh in OFFERS
        )
        found.append(MarketRecord(slot=slot, book=book, clearing=clear(book)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two hours."""
    write_market([*auctions(HOUR), *auctions(HOUR + timedelta(hours=1))], tmp_path / "market", SEED)
    return tmp_path / "market"


def verify(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["market", "verify", *map(str, words)])


def test_a_file_and_a_folder_that_are_sound(folder: Path) -> None:
    told = verify(folder / "20180516T1100Z.json")
    assert told.exit_code == 0
    # 190 Wh wanted, 270 offered, all prices cross; H01 and H03 win and 70 Wh are the shorter side
    assert "sound, 6 auctions, 24 orders, 420 Wh traded" in told.stdout
    told = verify(folder)
    assert told.exit_code == 0
    last = json.loads((folder / "20180516T1200Z.json").read_text())["seal"]
    assert told.stdout.splitlines()[-1] == f"SOUND: 2 records; last seal {last}"
    assert verify(folder, "--seal", last.upper()).exit_code == 0
    assert verify(folder, "--seal", "0" * 64).exit_code == 1


def test_a_price_that_was_changed(folder: Path) -> None:
    path = folder / "20180516T1100Z.json"
    tree = json.loads(path.read_text())
    tree["auctions"][3]["bid_price_millicent"] = 13
    path.write_text(json.dumps(tree))
    told = verify(folder)
    assert told.exit_code == 1
    assert "auctions[3].bid_price_millicent is 13, but the rules give 12" in told.stdout
    assert "NOT SOUND" in told.stdout


def test_a_record_that_was_exchanged_breaks_the_chain(folder: Path, tmp_path: Path) -> None:
    """Sound by itself, with a seal of its own; but the next hour holds another seal."""
    fewer = [MarketRecord(slot=a.slot, book=a.book[1:], clearing=clear(a.book[1:])) for a in auctions(HOUR)]
    write_market(fewer, tmp_path / "other", SEED)
    name = "20180516T1100Z.json"
    (folder / name).write_text((tmp_path / "other" / name).read_text())
    assert verify(folder / name).exit_code == 0
    told = verify(folder)
    assert told.exit_code == 1
    assert "chain: intraday 2018-05-16T12:00:00+00:00: previous" in told.stdout


# --- the day before ----------------------------------------------------------------------------------------


def blocks(hour: datetime, count: int = 2) -> list[DayAheadRecord]:
    """The same offers for whole hours; volumes are those of one slot."""
    firsts = [auctions(hour + k * timedelta(hours=1))[0] for k in range(count)]
    return [DayAheadRecord(slot=first.slot, book=first.book, clearing=first.clearing) for first in firsts]


def test_blocks_are_a_chain_of_their_own_beside_the_hours(tmp_path: Path) -> None:
    write_market([*blocks(HOUR), *auctions(HOUR), *auctions(HOUR + timedelta(hours=1))], tmp_path, SEED)
    assert {path.name for path in tmp_path.iterdir()} == {
        "20180516T1100Z.json",
        "20180516T1200Z.json",
        "20180516T1100Z-day-ahead.json",
        "20180516T1200Z-day-ahead.json",
    }
    told = verify(tmp_path)
    assert told.exit_code == 0
    # 70 Wh in each of six slots: as much as the six auctions of the hour before it together
    assert "20180516T1100Z-day-ahead.json: sound, 1 auctions, 4 orders, 420 Wh traded" in told.stdout
    seals = [
        json.loads((tmp_path / f"20180516T1200Z{end}.json").read_text())["seal"] for end in ("", "-day-ahead")
    ]
    assert told.stdout.splitlines()[-1] == (
        f"SOUND: 4 records; last seal {seals[0]}; last seal day-ahead {seals[1]}"
    )
    for seal in seals:
        assert verify(tmp_path, "--seal", seal).exit_code == 0
    first = json.loads((tmp_path / "20180516T1100Z-day-ahead.json").read_text())["seal"]
    assert verify(tmp_path, "--seal", first).exit_code == 1


def test_a_block_that_was_changed(tmp_path: Path) -> None:
    write_market(blocks(HOUR), tmp_path, SEED)
    path = tmp_path / "20180516T1100Z-day-ahead.json"
    tree = json.loads(path.read_text())
    tree["auctions"][0]["orders"][0]["volume_wh"] += 1
    path.write_text(json.dumps(tree))
    assert verify(path).exit_code == 1


def test_blocks_after_a_restart_go_on_with_their_chain(tmp_path: Path) -> None:
    write_market([*blocks(HOUR), *auctions(HOUR)], tmp_path, SEED)
    recorder = Publishing(Tape(), MarketFiles(tmp_path, SEED))
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for record in blocks(HOUR, 3):
        recorder.record(record)
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert after.items() > before.items(), "what is published stays"
    assert set(after) - set(before) == {"20180516T1300Z-day-ahead.json"}
    assert verify(tmp_path).exit_code == 0


def test_only_blocks_after_the_newest_are_lacking(tmp_path: Path) -> None:
    files = MarketFiles(tmp_path, SEED)
    assert files.lacks_block(HOUR)
    everything: list[EngineRecord] = [*blocks(HOUR), *auctions(HOUR + timedelta(hours=5))]
    for record in everything:
        Publishing(Tape(), files).record(record)
    newest = HOUR + timedelta(hours=len(blocks(HOUR)) - 1)
    again = MarketFiles(tmp_path, SEED)
    assert [again.lacks_block(newest + timedelta(hours=h)) for h in (-1, 0, 1)] == [False, False, True]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty").exit_code == 2
    assert verify(tmp_path / "nowhere.json").exit_code == 2
    (tmp_path / "some.json").write_text("{}")
    told = verify(tmp_path / "some.json")
    assert told.exit_code == 1
    assert "no record of an auction" in told.stdout


def test_an_engine_that_is_started_again_goes_on_with_the_chain(folder: Path) -> None:
    again = MarketFiles(folder, SEED)
    before = (folder / "20180516T1200Z.json").read_text()
    for record in (*auctions(HOUR + timedelta(hours=1)), *auctions(HOUR + timedelta(hours=2))):
        again.add(record)
    assert (folder / "20180516T1200Z.json").read_text() == before, "what is published stays"
    assert verify(folder).exit_code == 0
    assert len(list(folder.iterdir())) == 3


def test_an_hour_that_was_cut_short_is_no_record(tmp_path: Path) -> None:
    files = MarketFiles(tmp_path, SEED)
    for record in (*auctions(HOUR)[:4], *auctions(HOUR + timedelta(hours=1))):
        files.add(record)
    assert [path.name for path in tmp_path.iterdir()] == ["20180516T1200Z.json"]


def test_nothing_is_added_to_a_broken_chain(folder: Path) -> None:
    (folder / "20180516T1200Z.json").write_text("{}")
    with pytest.raises(MarketFilesError, match="broken chain"):
        MarketFiles(folder, SEED)
    with pytest.raises(MarketFilesError):
        MarketFiles(folder / "20180516T1100Z.json", SEED)


def test_a_recorder_publishes_the_auctions_and_passes_everything_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tape = Tape()
    recorder = Publishing(tape, MarketFiles(tmp_path / "market", SEED))
    fault = FaultRecord(slot=HOUR, at=HOUR, what="results", error="ExchangeFailed", text="gone")
    everything: list[EngineRecord] = [fault, *auctions(HOUR)]
    for record in everything:
        recorder.record(record)
    assert tape.records == everything
    assert verify(tmp_path / "market").exit_code == 0
    # a folder that is gone costs the file, and says so
    (tmp_path / "market" / "20180516T1100Z.json").unlink()
    (tmp_path / "market").rmdir()
    for record in auctions(HOUR + timedelta(hours=1)):
        recorder.record(record)
    assert "could not be published" in caplog.text
    assert len(tape.records) == 13

"""CSV files that grow, are cut, renamed and broken, and Parquet files that are put in place."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from feederloop.telemetry.board import Fault
from feederloop.telemetry.csv_tail import CsvTail
from feederloop.telemetry.parquet_files import ParquetFiles
from tests.unit.telemetry.telemetry_kit import HEADER, METERS, NOW, PLAUSIBLE, at, line, powers

LATER = NOW + timedelta(hours=1)


def tail(path: Path) -> CsvTail:
    return CsvTail(path, METERS, PLAUSIBLE)


def add(path: Path, *text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(text))


async def seen(source: CsvTail | ParquetFiles) -> dict[str, tuple[float, float]]:
    return powers(await source.read(LATER))


async def test_new_lines_are_picked_up_and_gaps_stay_gaps(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    source = tail(path)
    assert await seen(source) == {}  # the file is not there yet
    add(path, HEADER, line(0, "F1-A", 1.0), line(0, "F1-B", 2.0))
    assert await seen(source) == {"F1-A": (1.0, 0.0), "F1-B": (2.0, 0.0)}
    add(path, line(10, "F1-A", 3.0))
    assert await seen(source) == {"F1-A": (3.0, 10.0), "F1-B": (2.0, 0.0)}
    assert await seen(source) == {"F1-A": (3.0, 10.0), "F1-B": (2.0, 0.0)}
    await source.close()


async def test_a_line_counts_once_its_end_is_there(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    source = tail(path)
    whole = line(0, "F1-A", 12.5)
    add(path, HEADER[:7])
    assert await seen(source) == {}
    cut = whole.index("12.5") + 1  # "1" would be a fine number too
    add(path, HEADER[7:], whole[:cut])
    assert await seen(source) == {}
    add(path, whole[cut:])
    assert await seen(source) == {"F1-A": (12.5, 0.0)}
    assert source.state().refused == ()
    await source.close()


async def test_a_file_that_was_renamed_is_read_to_its_end(tmp_path: Path) -> None:
    path, old = tmp_path / "meters.csv", tmp_path / "meters.csv.1"
    add(path, HEADER, line(0, "F1-A", 1.0))
    source = tail(path)
    await seen(source)
    add(path, line(10, "F1-B", 2.0))
    path.rename(old)
    assert await seen(source) == {"F1-A": (1.0, 0.0), "F1-B": (2.0, 10.0)}  # between the two files
    add(old, line(20, "F1-C", 3.0))  # its writer has not turned to the new one yet
    add(path, HEADER.replace("time,pcc", "pcc,time"), f"F2-A,{at(30)},4,0,230\n")
    assert await seen(source) == {
        "F1-A": (1.0, 0.0),
        "F1-B": (2.0, 10.0),
        "F1-C": (3.0, 20.0),
        "F2-A": (4.0, 30.0),
    }
    add(path, f"F2-A,{at(40)},5,0,230\n")
    assert (await seen(source))["F2-A"] == (5.0, 40.0)
    await source.close()


async def test_a_file_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    add(path, HEADER, line(0, "F1-A", 1.0), line(10, "F1-A", 2.0))
    source = tail(path)
    await seen(source)
    os.truncate(path, 0)
    add(path, HEADER, line(20, "F1-A", 3.0))
    assert await seen(source) == {"F1-A": (3.0, 20.0)}
    assert source.state().refused == ()
    await source.close()


async def test_in_a_folder_the_files_follow_each_other(tmp_path: Path) -> None:
    add(tmp_path / "2026-05-15.csv", HEADER, line(-9000, "F2-C", 9.0))
    add(tmp_path / "2026-05-16.csv", HEADER, line(0, "F1-A", 1.0))
    source = tail(tmp_path)
    assert await seen(source) == {"F1-A": (1.0, 0.0)}  # what lies before the last file is history
    add(tmp_path / "2026-05-16.csv", line(10, "F1-B", 2.0))
    add(tmp_path / "2026-05-17.csv", HEADER, line(20, "F1-C", 3.0))
    add(tmp_path / "2026-05-18.csv", HEADER, line(30, "F2-A", 4.0))
    add(tmp_path / "notes.txt", "x")
    assert await seen(source) == {
        "F1-A": (1.0, 0.0),
        "F1-B": (2.0, 10.0),
        "F1-C": (3.0, 20.0),
        "F2-A": (4.0, 30.0),
    }
    await source.close()


async def test_bad_lines_spoil_nothing_for_the_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    add(path, "\ufeff" + HEADER.replace("\n", "\r\n"))
    with path.open("ab") as file:
        file.write(b"\xff\xfe\x00rubbish\n")
        file.write(b'"quoted\n')
        file.write(b"x" * 40_000 + b"\n")
    add(path, "\n", line(0, "F1-A", "nan"), line(0, "F9-A", 1.0), line(1, "F1-A", 7.0), "a,b\n")
    add(path, line(0, "F1-A", 6.0))
    source = tail(path)
    assert await seen(source) == {"F1-A": (7.0, 1.0)}
    assert dict(source.state().refused) == {
        Fault.UNREADABLE: 4,
        Fault.NO_NUMBER: 1,
        Fault.UNKNOWN_PCC: 1,
        Fault.LATE: 1,
    }
    await source.close()


async def test_a_line_without_end_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    add(path, HEADER)
    source = tail(path)
    await seen(source)
    for _ in range(3):
        add(path, "x" * 20_000)
        assert await seen(source) == {}
    assert dict(source.state().refused) == {Fault.UNREADABLE: 3}
    add(path, "\n", line(0, "F1-A", 1.0))
    assert await seen(source) == {"F1-A": (1.0, 0.0)}
    await source.close()


async def test_a_header_with_wrong_units_is_a_fault_of_every_line(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    add(path, HEADER.replace("p_kw", "p_mw"), line(0, "F1-A", 1.0), line(10, "F1-A", 1.0))
    source = tail(path)
    assert await seen(source) == {}
    assert dict(source.state().refused) == {Fault.UNREADABLE: 2}
    await source.close()


async def test_of_a_long_file_only_the_end_is_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    old = line(-86_400, "F2-C", 9.0)
    add(path, HEADER, old, *(line(k / 10, "F1-A", 1.0) for k in range(20_000)), line(2_001, "F1-B", 2.0))
    assert path.stat().st_size > 800_000
    source = tail(path)
    assert await seen(source) == {"F1-A": (1.0, 1_999.9), "F1-B": (2.0, 2_001.0)}
    assert source.state().refused == ()  # not even the line that was cut in two
    assert source.state().taken < 6_000
    await source.close()


async def test_a_folder_that_may_not_be_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tail(tmp_path / "missing" / "meters.csv")
    for _ in range(3):
        assert await seen(source) == {}
    assert [record.getMessage().count("cannot be read") for record in caplog.records] == [1]


# --- Parquet -----------------------------------------------------------------------------------------------


def put(path: Path, *rows: tuple[float, str, float], **columns: Any) -> None:
    """Write a table beside and put it in place."""
    table: dict[str, Any] = {
        "time": [NOW + timedelta(seconds=second) for second, _, _ in rows],
        "pcc": [pcc for _, pcc, _ in rows],
        "p_kw": [p_kw for _, _, p_kw in rows],
        "q_kvar": [0.0 for _ in rows],
        "v_v": [230.0 for _ in rows],
        "other": ["x" for _ in rows],
    } | columns
    beside = path.with_suffix(".new")
    parquet.write_table(pyarrow.table({k: v for k, v in table.items() if v is not None}), beside)
    beside.replace(path)


async def test_a_parquet_file_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "meters.parquet"
    source = ParquetFiles(path, METERS, PLAUSIBLE)
    assert await seen(source) == {}
    put(path, (0, "F1-A", 1.0), (10, "F1-A", 2.0), (0, "F1-B", 999.0))
    assert await seen(source) == {"F1-A": (2.0, 10.0)}
    assert await seen(source) == {"F1-A": (2.0, 10.0)}
    assert dict(source.state().refused) == {Fault.ABSURD: 1}  # it was read once
    put(path, (20, "F1-A", 3.0))
    assert await seen(source) == {"F1-A": (3.0, 20.0)}


async def test_parquet_files_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", (0, "F2-C", 1.0))
    put(tmp_path / "b.parquet", (10, "F1-A", 2.0))
    source = ParquetFiles(tmp_path, METERS, PLAUSIBLE)
    assert await seen(source) == {"F1-A": (2.0, 10.0)}
    put(tmp_path / "c.parquet", (20, "F1-A", 3.0))
    put(tmp_path / "d.parquet", (30, "F1-B", 4.0))
    assert await seen(source) == {"F1-A": (3.0, 20.0), "F1-B": (4.0, 30.0)}


async def test_what_is_no_parquet_is_counted_and_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "meters.parquet"
    source = ParquetFiles(path, METERS, PLAUSIBLE)
    path.write_bytes(b"PAR1 and no more")
    assert await seen(source) == {}
    assert await seen(source) == {}
    assert dict(source.state().refused) == {Fault.UNREADABLE: 1}
    put(path, (0, "F1-A", 1.0), p_kw=None)  # a column is missing
    assert await seen(source) == {}
    assert dict(source.state().refused) == {Fault.UNREADABLE: 2}
    put(path, (0, "F1-A", 1.0), time=[NOW.replace(tzinfo=None)])
    assert await seen(source) == {}
    assert dict(source.state().refused) == {Fault.UNREADABLE: 2, Fault.NO_TIME: 1}
    put(path, (0, "F1-A", 1.0))
    assert await seen(source) == {"F1-A": (1.0, 0.0)}

"""SQL that can only read, on SQLite and duckdb: what it answers, and what nobody gets through it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sql_attacks import DUCKDB, SQLITE

import agentkit_tools.data_duckdb as data_duckdb
from agentkit import Agent, Client, ConfigurationError, Tool, ToolError
from agentkit.emulator import Emulator, reply, tool_use
from agentkit.tools import InvalidInput
from agentkit_tools.data import data
from agentkit_tools.data_duckdb import DuckdbFile, DuckdbFolder
from agentkit_tools.data_rows import Rows, as_table
from agentkit_tools.data_sqlite import SqliteFile

pytestmark = pytest.mark.slow

ROWS = [("Rome", 1, 10.5), ("Rome", 2, 20.0), ("Oslo", 1, 7.25), ("Oslo", 2, None)]
CSV = "place,month,euros\nRome,1,10.5\nRome,2,20\nOslo,1,7.25\nOslo,2,\n"
MANY = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {most}) SELECT "


def make_sqlite(folder: Path) -> Path:
    path = folder / "sales #1?.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE sales (place TEXT, month INTEGER, euros REAL)")
        database.executemany("INSERT INTO sales VALUES (?, ?, ?)", ROWS)
        database.execute("CREATE VIEW totals AS SELECT place, sum(euros) AS euros FROM sales GROUP BY place")
    database.close()
    return path


def make_folder(folder: Path) -> Path:
    path = folder / "data"
    path.mkdir()
    (path / "sales.csv").write_text(CSV)
    with duckdb.connect() as database:
        database.execute(f"COPY (SELECT range AS n FROM range(1000)) TO '{path / 'Big-Numbers.parquet'}'")
    return path


def make_duckdb(folder: Path) -> Path:
    path = folder / "sales.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE sales (place TEXT, month INTEGER, euros REAL)")
        database.executemany("INSERT INTO sales VALUES (?, ?, ?)", [list(row) for row in ROWS])
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {"sqlite": make_sqlite, "folder": make_folder, "duckdb": make_duckdb}


# Opening a duckdb file takes a tenth of a second.
@pytest.fixture(params=["sqlite", "folder", pytest.param("duckdb", marks=pytest.mark.slow)])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path)


def tools(path: Path) -> dict[str, Tool]:
    return {tool.name: tool for tool in data(path)}


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder, by what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_query(made: Path) -> None:
    query = tools(made)["query_data"]
    assert query("SELECT place, sum(euros) AS euros FROM sales GROUP BY place ORDER BY place") == (
        "| place | euros |\n| --- | --- |\n| Oslo | 7.25 |\n| Rome | 30.5 |"
    )
    assert query("SELECT euros FROM sales WHERE place = 'Oslo' AND month = 2").endswith("| NULL |")
    assert query("SELECT * FROM sales WHERE month = 9;") == "No rows. Columns: place, month, euros"
    assert query(sql=MANY.format(most=4) + "max(x) FROM n").endswith("| 4 |")
    for wrong, told in (("SELECT no FROM sales", "no"), ("SELEC 1", "syntax error"), ("SELECT 1 FROM gone", "gone")):
        with pytest.raises(ToolError, match=f"The query can't be run: (?s:.*){told}"):
            query(wrong)


def test_list_tables(tmp_path: Path) -> None:
    listed = tools(make_sqlite(tmp_path))["list_tables"]()
    assert listed == (
        "sales (4 rows)\n- place: TEXT\n- month: INTEGER\n- euros: REAL\n\ntotals (2 rows)\n- place: TEXT\n- euros: any"
    )
    listed = tools(make_folder(tmp_path))["list_tables"]()
    assert listed == (
        "big_numbers (1,000 rows)\n- n: BIGINT\n\nsales (4 rows)\n- place: VARCHAR\n- month: BIGINT\n- euros: DOUBLE"
    )
    assert tools(make_duckdb(tmp_path))["list_tables"]().startswith("sales (4 rows)\n- place: VARCHAR")
    (tmp_path / "empty").mkdir()
    assert tools(tmp_path / "empty")["list_tables"]() == "There are no tables."


def attacks(path: Path) -> list[str]:
    return SQLITE if path.suffix == ".db" else DUCKDB


def test_nothing_is_written_and_nothing_else_is_read(made: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    query, passed, told = tools(made)["query_data"], [], []
    assert len(attacks(made)) >= 60
    query("SELECT 1")
    before = files(tmp_path)
    for attack in attacks(made):
        sql = attack.format(folder=tmp_path, secret=secret, newline="\n")
        try:
            passed.append((sql, query(sql)))
        except ToolError as error:
            told.append(str(error))
    assert passed == []
    assert not [text for text in told if "the secret" in text]
    assert files(tmp_path) == before
    assert query("SELECT count(*), sum(euros) FROM sales").endswith("| 4 | 37.75 |")


def test_each_lock_of_sqlite_holds_alone(tmp_path: Path) -> None:
    database = SqliteFile(make_sqlite(tmp_path))
    for unlock in ("SELECT 1", "PRAGMA query_only = OFF"):  # the file was opened to be read
        with pytest.raises(ToolError, match="readonly"), database._opened() as connection:
            connection.executescript(f"{unlock}; DELETE FROM sales")


@pytest.mark.slow
def test_the_attacks_bite_without_the_locks(tmp_path: Path) -> None:
    """On plain connections many of them work, so the table says something."""
    worked = 0
    with duckdb.connect() as database:
        for attack in DUCKDB:
            if "http" in attack or "INSTALL" in attack:
                continue
            database.execute("CREATE OR REPLACE TABLE sales AS SELECT 'x' AS place, 1 AS month, 1 AS euros")
            try:
                database.execute(attack.format(folder=tmp_path, secret=__file__, newline="\n")).fetchall()
                worked += 1
            except duckdb.Error:
                pass
    assert worked > 40


@pytest.mark.parametrize("make", [make_sqlite, make_folder, make_duckdb])
def test_a_slow_query_is_stopped(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    database = {"sqlite": SqliteFile, "folder": DuckdbFolder, "duckdb": DuckdbFile}[make.__name__[5:]](path)
    database.select("SELECT 1", 10)  # reads the files, which has a limit too
    database._seconds = 0.3  # type: ignore[attr-defined]
    began = time.monotonic()
    slow = MANY.format(most=100_000_000) + "count(*) FROM n"
    with pytest.raises(ToolError, match=r"took more than 0\.3 seconds"):
        database.select(slow, 10)
    assert time.monotonic() - began < 15
    database._seconds = 30  # type: ignore[attr-defined]
    assert database.select("SELECT 1", 10).rows == [(1,)]


def test_a_query_that_begins_late_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = DuckdbFolder(make_folder(tmp_path))
    database.select("SELECT 1", 10)
    one, database._seconds = data_duckdb._one, 0.05

    def late(cursor: Any, sql: str) -> Any:
        time.sleep(0.2)  # duckdb forgets an interrupt that comes meanwhile
        return one(cursor, sql)

    monkeypatch.setattr(data_duckdb, "_one", late)
    with pytest.raises(ToolError, match=r"took more than 0\.05 seconds"):
        database.select(MANY.format(most=1_000_000) + "count(*) FROM n", 10)


def test_rows_and_cells_are_cut(made: Path) -> None:
    query = tools(made)["query_data"]
    many = MANY.format(most=1000) + "x FROM n ORDER BY x"
    shown = query(many)
    assert shown.count("\n| ") == 201
    assert shown.endswith("[… only the first 200 rows: aggregate, or use WHERE, LIMIT and OFFSET …]")
    wide = as_table(Rows(["a|b", "c"], [("x" * 1000, b"123\0")] * 300, are_cut=False))
    assert f"| {'x' * 300}… | (4 bytes) |" in wide
    assert len(wide) < 70_000
    assert "only the first 189 rows" in wide
    assert as_table(Rows(["a"], [("1|2\n3",)], are_cut=False)).endswith("| 1\\|2 3 |")


def test_files_that_change_come_and_go(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    query = tools(folder)["query_data"]
    assert query("SELECT count(*) AS n FROM sales").endswith("| 4 |")
    (folder / "sales.csv").write_text(CSV + "Rome,3,1\n")
    (folder / "2024 Sales!.tsv").write_text("a\tb\n1\t2\n")
    (folder / "SALES.CSV").write_text("a,b\n1,2\n")
    assert query("SELECT count(*) AS n FROM sales_2").endswith("| 5 |")
    assert query("SELECT a + b AS n FROM t_2024_sales").endswith("| 3 |")
    (folder / "SALES.CSV").unlink()
    assert query("SELECT count(*) AS n FROM sales").endswith("| 5 |")
    (folder / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(ToolError, match=r"bad\.parquet can't be read: .*bad\.parquet"):
        query("SELECT 1")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_and_subfolders_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("secret\n1\n")
    folder = make_folder(tmp_path)
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    (folder / "sub.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    assert "link" not in tools(folder)["list_tables"]()
    (folder / "sales.csv").unlink()
    (folder / "sales.csv").symlink_to(tmp_path / "outside.csv")
    assert "secret" not in tools(folder)["list_tables"]()
    assert tools(tmp_path / "outside.csv")["list_tables"]() == "outside (1 rows)\n- secret: BIGINT"


def test_a_file_swapped_for_a_link_is_not_followed(tmp_path: Path) -> None:
    """Between the listing and the opening, as a race would."""
    (tmp_path / "outside.csv").write_text("secret\n1\n")
    folder = make_folder(tmp_path)

    class Swapped(DuckdbFolder):
        def _files(self) -> list[tuple[str, int, int]]:
            found = super()._files()
            (folder / "sales.csv").unlink()
            (folder / "sales.csv").symlink_to(tmp_path / "outside.csv")
            return found

    with pytest.raises(ToolError, match=r"sales\.csv can't be read"):
        Swapped(folder).tables()


def test_others_may_write_meanwhile(tmp_path: Path) -> None:
    for path, connect in ((make_sqlite(tmp_path), sqlite3.connect), (make_duckdb(tmp_path), duckdb.connect)):
        query = tools(path)["query_data"]
        assert query("SELECT count(*) AS n FROM sales").endswith("| 4 |")
        writer: Any = connect(str(path))
        writer.execute("DELETE FROM sales WHERE month = 2")
        writer.commit()
        writer.close()
        assert query("SELECT count(*) AS n FROM sales").endswith("| 2 |")


def test_parallel_queries(made: Path) -> None:
    query, found = tools(made)["query_data"], []
    threads = [threading.Thread(target=lambda: found.append(query("SELECT sum(euros) FROM sales"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow  # matplotlib takes seconds to load
@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT place || ' $a_b$', sum(euros), count(*) FROM sales GROUP BY place", "bar"),
        ("SELECT month, euros FROM sales", "line"),
        ("SELECT '2024-01-0' || month, euros FROM sales ORDER BY 1", "line"),
        ("SELECT place, euros FROM sales", "scatter"),
        ("SELECT euros FROM sales WHERE euros IS NOT NULL", "histogram"),
    ],
)
def test_charts(sql: str, kind: str, tmp_path: Path) -> None:
    said, image = tools(make_sqlite(tmp_path))["draw_chart"](sql, kind, "Sales in $ and $")
    assert said.startswith(f"A {kind} chart of ")
    assert image.startswith(PNG)
    assert 5000 < len(image) < 200_000


@pytest.mark.parametrize(
    ("sql", "kind", "told"),
    [
        ("SELECT place FROM sales", "bar", "Select the x axis first"),
        ("SELECT month, place FROM sales", "line", "The column place is not all numbers"),
        ("SELECT place, euros FROM sales WHERE month = 9", "bar", "gives no rows"),
        ("SELECT range, range FROM range(61)", "bar", "aggregate to 60 rows"),
        ("SELECT range, range FROM range(5001)", "line", "aggregate to 5000 rows"),
        ("DELETE FROM sales", "bar", "not allowed"),
    ],
)
def test_charts_that_can_not_be(sql: str, kind: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=told):
        tools(make_folder(tmp_path))["draw_chart"](sql, kind)


def test_what_is_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.txt").write_text("hello")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    for path, told in [
        (tmp_path / "x.txt", "give a folder, a .csv"),
        (tmp_path / "nowhere.db", "No such file"),
        (Path("/"), "give a folder of its own"),
        (tmp_path / "home" / "me", "give a folder of its own"),
        (tmp_path / "home", "give a folder of its own"),
    ]:
        with pytest.raises(ConfigurationError, match=told):
            data(path)


def test_definitions(tmp_path: Path) -> None:
    made = tools(make_sqlite(tmp_path))
    assert list(made) == ["list_tables", "query_data", "draw_chart"]
    assert all(tool.effect == {"read", "private"} and tool.is_read for tool in made.values())
    with pytest.raises(InvalidInput):
        made["draw_chart"].validate({"sql": "SELECT 1", "kind": "pie"})


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = make_folder(tmp_path), make_sqlite(tmp_path)
    for name in ("duckdb", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolError, match=r"agentkit-loop\[data\]"):
        tools(folder)["query_data"]("SELECT 1")
    assert "| 1 |" in tools(file)["query_data"]("SELECT 1")
    with pytest.raises(ToolError, match=r"agentkit-loop\[data\]"):
        tools(file)["draw_chart"]("SELECT month, euros FROM sales", "bar")


@pytest.mark.slow
def test_the_model_sees_the_chart(tmp_path: Path) -> None:
    chart = tool_use("draw_chart", sql="SELECT month, euros FROM sales", kind="bar", title="Sales")
    agent = Agent("claude-sonnet-4-6", tools=data(make_sqlite(tmp_path)))
    with Emulator(script=[reply(chart), reply("Nice.")]) as emulator:
        result = agent.run_sync("Draw it.", client=Client(base_url=emulator.url, api_key="any"))
        agent.close()
    assert result.text == "Nice."
    (answered,) = emulator.requests[1]["messages"][-1]["content"]
    assert [block["type"] for block in answered["content"]] == ["text", "image"]


def test_variables_of_python_are_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = pytest.importorskip("numpy")
    monkeypatch.setattr(data_duckdb, "secret", {"x": numpy.array([1, 2])}, raising=False)
    with pytest.raises(ToolError, match="Table with name secret does not exist"):
        tools(make_folder(tmp_path))["query_data"]("SELECT * FROM secret")

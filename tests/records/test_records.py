"""The engine: transactions, concurrent processes, migrations up and down, and faults with codes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.kernel import messages
from headrace.kernel.errors import Conflict, Corrupt, InputError, NotFound, Unavailable
from headrace.records import Records, open_records

FIRST = """
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("firm", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
def downgrade():
    op.drop_table("firm")
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.create_table("plant", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("firm", sa.Integer, sa.ForeignKey("firm.id"), nullable=False))
    with op.batch_alter_table("firm") as table:
        table.alter_column("name", nullable=False, new_column_name="title")
def downgrade():
    op.drop_table("plant")
    with op.batch_alter_table("firm") as table:
        table.alter_column("title", nullable=True, new_column_name="name")
"""
FAILING = """
import sqlalchemy as sa
from alembic import op
revision = "0003"
down_revision = "0002"
def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO plant (id, firm) VALUES (1, 999)")
def downgrade():
    op.drop_table("half")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A plugin's package of migrations; its name is new for each test."""
    name = f"plugin_{abs(hash(tmp_path)):x}"
    folder = tmp_path / "site" / name / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "0001_firm.py").write_text(FIRST)
    (folder / "0002_plant.py").write_text(SECOND)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return f"{name}.migrations"


@pytest.fixture
def folder(package: str, tmp_path: Path) -> Path:
    return tmp_path / "site" / package.replace(".", "/")


@pytest.fixture
def records(tmp_path: Path):
    with open_closed(tmp_path / "deep" / "records.sqlite") as opened:
        yield opened


class open_closed:
    def __init__(self, path: Path | str, **options: float) -> None:
        self.records = open_records(path, **options)

    def __enter__(self) -> Records:
        return self.records

    def __exit__(self, *_: object) -> None:
        self.records.close()


def tables(records: Records) -> set[str]:
    with records.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_sqlite_is_set_up_for_durability(records: Records) -> None:
    for context in (records.begin, records.read):
        with context() as connection:
            pragma = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    assert records.dialect == "sqlite"


def test_a_transaction_commits_or_rolls_back_as_a_whole(records: Records) -> None:
    with records.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    with pytest.raises(ZeroDivisionError), records.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    with records.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
    with records.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM t").scalars().all() == [2]


def test_a_reader_sees_one_state_and_cannot_write(records: Records) -> None:
    with records.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
    with records.read() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
        with records.begin() as writing:
            writing.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert reading.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    with pytest.raises(Unavailable) as caught, records.read() as reading:
        reading.exec_driver_sql("INSERT INTO t VALUES (2)")
    assert caught.value.code == "records.cannot_open"


def test_writers_of_several_threads_wait_for_each_other(records: Records) -> None:
    with records.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (0)")

    def count() -> None:
        for _ in range(25):
            with records.begin() as connection:
                n = connection.exec_driver_sql("SELECT n FROM t").scalar_one()
                connection.exec_driver_sql(f"UPDATE t SET n = {n + 1}")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with records.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM t").scalar() == 100


def test_migrate_is_idempotent_and_keeps_a_version_per_room(records: Records, package: str) -> None:
    assert records.version(package) is None
    records.migrate([package])
    with records.begin() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, title) VALUES (1, '甲')")
    records.migrate([package])
    assert records.version(package) == "0002"
    assert {"firm", "plant", "version_" + package.replace(".", "_")} <= tables(records)
    with records.read() as connection:
        assert connection.exec_driver_sql("SELECT title FROM firm").scalar() == "甲"


def test_downgrade_goes_back_step_by_step(records: Records, package: str) -> None:
    records.migrate([package])
    records.downgrade(package, "0001")
    assert records.version(package) == "0001"
    assert "plant" not in tables(records) and "firm" in tables(records)
    with records.begin() as connection:
        connection.exec_driver_sql("INSERT INTO firm (id, name) VALUES (1, NULL)")
    records.downgrade(package, "base")
    assert records.version(package) is None
    assert "firm" not in tables(records)
    with pytest.raises(NotFound) as caught:
        records.downgrade(package, "0009")
    assert caught.value.code == "records.no_revision"


def test_a_failed_migration_leaves_nothing_behind(records: Records, package: str, folder: Path) -> None:
    records.migrate([package])
    (folder / "0003_half.py").write_text(FAILING)
    with pytest.raises(sa.exc.IntegrityError):  # the foreign keys are checked before the commit
        records.migrate([package])
    assert records.version(package) == "0002"
    assert "half" not in tables(records)
    with records.read() as connection:  # and are on again afterwards
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    with pytest.raises(sa.exc.IntegrityError), records.begin() as connection:
        connection.exec_driver_sql("INSERT INTO plant (id, firm) VALUES (1, 999)")


def test_a_database_of_a_newer_program_is_refused(records: Records, package: str, folder: Path) -> None:
    records.migrate([package])
    (folder / "0002_plant.py").unlink()
    with pytest.raises(Conflict) as caught:
        records.migrate([package])
    assert caught.value.code == "records.newer"
    assert caught.value.params["version"] == "0002" and caught.value.params["newest"] == "0001"


@pytest.mark.parametrize("room", ["nosuchroom", "no_such_package.migrations", "", "json.decoder"])
def test_unknown_rooms_are_named(records: Records, room: str) -> None:
    with pytest.raises(NotFound) as caught:
        records.migrate([room])
    assert caught.value.code == "records.no_migrations"


MIGRATE = """
import sys
from headrace.records import open_records
records = open_records(sys.argv[1])
sys.stdin.readline()
records.migrate([sys.argv[2]])
with records.begin() as c:
    c.exec_driver_sql("INSERT INTO firm (title) VALUES ('x')")
records.close()
"""


def test_processes_may_migrate_at_the_same_moment(tmp_path: Path, package: str) -> None:
    file = tmp_path / "records.sqlite"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, str(file), package],
            env=env,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [p.returncode for p in started] == [0, 0, 0], errors
    with open_closed(file) as records:
        assert records.version(package) == "0002"
        with records.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM firm").scalar() == 3


HALF = """
import sys, os
from headrace.records import open_records
records = open_records(sys.argv[1])
with records.begin() as c:
    c.exec_driver_sql("CREATE TABLE t (n INTEGER)")
with records.begin() as c:
    c.exec_driver_sql("INSERT INTO t VALUES (1)")
print("committed", flush=True)
with records.begin() as c:
    c.exec_driver_sql("INSERT INTO t VALUES (2)")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.fault
def test_kill_keeps_what_was_committed_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    done = subprocess.run([sys.executable, "-c", HALF, str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9 and done.stdout == "committed\n"
    with open_closed(file) as records, records.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM t").scalars().all() == [1]


@pytest.mark.fault
def test_a_full_disk_has_a_code_and_loses_nothing(records: Records) -> None:
    with records.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (b BLOB)")
        connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(100))")
    with pytest.raises(Unavailable) as caught, records.begin() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 4")  # what SQLite does when the disk is full
        connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(1000000))")
    assert caught.value.code == "records.disk_full"
    assert "磁盘已满" in caught.value.text("zh")
    with records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 1


def test_a_lock_held_too_long_has_a_code(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    with open_closed(file, busy_timeout_s=0.1) as records:
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught, records.begin():
            pass
        assert caught.value.code == "records.locked"
        with records.read():  # readers are not disturbed
            pass
        other.close()


def test_a_file_that_is_no_database_has_a_code(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    file.write_bytes(b"not a database at all, only some text" * 100)
    with pytest.raises(Corrupt) as caught:
        open_records(file)
    assert caught.value.code == "records.corrupt"
    assert str(file) in caught.value.text("en")


def test_a_damaged_page_has_a_code(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    with open_closed(file) as records, records.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (b TEXT)")
        for n in range(200):
            connection.exec_driver_sql(f"INSERT INTO t VALUES ('{str(n) * 500}')")
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    file.write_bytes(content)
    with open_closed(file) as records:
        with pytest.raises(Corrupt) as caught, records.read() as connection:
            connection.exec_driver_sql("SELECT count(b) FROM t").scalar()
        assert caught.value.code == "records.corrupt"


def test_a_folder_in_the_way_has_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "records.sqlite"):
        with pytest.raises(Unavailable) as caught:
            open_records(path)
        assert caught.value.code == "records.cannot_open"


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://", "nonsense://u:secret@h:x/d"])
def test_other_databases_are_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_records(url)
    assert caught.value.code == "records.bad_url"
    assert "secret" not in caught.value.text("en")


def test_a_sqlite_url_is_a_file(tmp_path: Path) -> None:
    with open_closed(f"sqlite:///{tmp_path / 'r.sqlite'}") as records:
        assert records.name == str(tmp_path / "r.sqlite")
    records.close()  # idempotent


def test_every_code_is_in_the_message_table() -> None:
    source = Path(__file__).parents[2] / "src/headrace/records"
    used: set[str] = set()
    for file in source.glob("*.py"):
        used |= set(re.findall(r'"(records\.[a-z_]+)"', file.read_text()))
    assert used and used <= set(messages.table())


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory):
    """A PostgreSQL server of our own on loopback, where its programs are installed."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if not initdb or not server:
        pytest.skip("no PostgreSQL programs (initdb, postgres) on PATH")
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
    with tempfile.TemporaryDirectory(prefix="hr-pg-") as name:
        home = Path(name)
        if user:
            shutil.chown(home, user)
        subprocess.run(
            [initdb, "-D", home / "data", "-A", "trust", "-U", "hr"],
            check=True,
            capture_output=True,
            user=user,
            cwd=home,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [server, "-D", home / "data", "-h", "127.0.0.1", "-p", str(port), "-k", ""],
            stderr=subprocess.PIPE,
            user=user,
            cwd=home,
        )
        try:
            assert process.stderr
            for line in process.stderr:
                if b"ready to accept connections" in line:
                    break
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield f"postgresql://hr@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_postgresql_does_the_same(postgresql: str, package: str) -> None:
    with open_closed(postgresql) as records:
        records.migrate([package])
        records.migrate([package])
        assert records.version(package) == "0002"
        with records.begin() as connection:
            connection.exec_driver_sql("INSERT INTO firm (id, title) VALUES (1, 'x')")
        with pytest.raises(Unavailable), records.read() as connection:
            connection.exec_driver_sql("INSERT INTO firm (id, title) VALUES (2, 'x')")
        records.downgrade(package, "base")
        assert records.version(package) is None

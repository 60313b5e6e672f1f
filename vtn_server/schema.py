"""The version of a store's tables: found, checked, brought up to date.

The version is alembic's: one row in ``alembic_version``. The first revision is what the product wrote
before it had migrations; such a database has a table ``meta`` instead and is taken as that revision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from vtn_server.store import UnknownSchema

__all__ = ["FIRST_REVISION", "found_revision", "known_revisions", "migrate"]

FIRST_REVISION: Final = "vtn_0001"
_FIRST_META: Final = 1
"""What the table ``meta`` of the first revision says."""
_FOLDER: Final = Path(__file__).with_name("migrations")


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def known_revisions() -> tuple[str, ...]:
    """Return every revision this program knows, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return tuple(each.revision for each in script.walk_revisions())[::-1]


def found_revision(connection: Connection) -> str | None:
    """Return the revision of a database; None where it is empty. Changes nothing.

    Raises:
        UnknownSchema: if it is not a database of this product, or of a version this one does not know.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" in tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    elif "meta" in tables and "vens" in tables:
        versions = connection.execute(text("SELECT schema_version FROM meta")).scalars().all()
        found = [FIRST_REVISION if each == _FIRST_META else str(each) for each in versions]
    else:
        raise UnknownSchema("the database holds tables, but not those of a VTN")
    known = known_revisions()
    if len(found) != 1 or found[0] not in known:
        raise UnknownSchema(f"the store has schema {list(found)}, this program knows up to {known[-1]}")
    return str(found[0])


def migrate(connection: Connection) -> None:
    """Bring a database up to date, in the connection's transaction.

    Raises:
        UnknownSchema: see :func:`found_revision`; nothing is changed then.
    """
    found = found_revision(connection)
    if found == known_revisions()[-1]:
        return
    config = _config(connection)
    if found is not None:
        command.stamp(config, found)  # says so where the database had no alembic_version
    command.upgrade(config, "head")

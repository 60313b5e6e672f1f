from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from certs.pki import Pki
from tests.unit.certs.authority import make_authority


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    folder = tmp_path_factory.mktemp("authority") / "pki"
    make_authority(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the authority that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "pki"))


@pytest.fixture
def pki(folder: Path) -> Pki:
    return Pki(folder)

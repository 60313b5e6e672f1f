"""Keeps a session and the home behind it on disk: what has changed is committed before a message leaves."""

from __future__ import annotations

from datetime import datetime

from ven_client.durable import DurableSession
from ven_client.state import Remembering, StateStore, VenState

__all__ = ["Keeper"]


class Keeper:
    """Ties a session, the application behind it and the store that keeps both.

    Args:
        session: The session.
        home: The application's memory.
        store: Where to keep them.
    """

    def __init__(self, session: DurableSession, home: Remembering, store: StateStore) -> None:
        self._session, self._home, self._store = session, home, store

    def restore(self, now: datetime) -> bool:
        """Take back what was committed last; return whether there is a registration to go on with.

        Raises:
            StateError: if the state cannot be read.
        """
        state = self._store.load()
        if state is None:
            return False
        self._home.recall(state.home, now)  # first: the events the session brings back act on it
        self._session.restore(state.session, now)
        return state.session.registration is not None

    def keep(self, now: datetime) -> None:
        """Commit what has changed; a message may leave once this has returned.

        Raises:
            StateError: if it cannot be written. The VEN must stop then: what it promises might be lost.
        """
        self._store.commit(VenState(session=self._session.snapshot(), home=self._home.memory(now)))

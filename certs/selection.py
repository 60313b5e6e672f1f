"""What a person means when naming issued certificates: a party, a fingerprint or a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from certs.files import PkiError, read_certificates
from certs.pki import Issued, Role

__all__ = ["select"]


def select(issued: Iterable[Issued], words: Iterable[str]) -> tuple[Issued, ...]:
    """Return the issued certificates that some words name, each once.

    Args:
        issued: All there are.
        words: ``ROLE NAME`` (two words) or ``ROLE/NAME`` for everything of a party, rotated ones, too;
            fingerprints; files, of which the first certificate counts.

    Raises:
        PkiError: if something named is not among the issued.
    """
    issued = tuple(issued)
    found: dict[Issued, None] = {}
    for party, word in _grouped(iter(words)):
        some = [each for each in issued if (each.role, each.name) == party]
        if party is None:
            some = [each for each in issued if each.fingerprint == word.upper()] or _of_file(issued, word)
        if not some:
            raise PkiError(
                f"nothing issued here is called {word}; give ROLE NAME, ROLE/NAME, a fingerprint or a file"
            )
        found |= dict.fromkeys(some)
    return tuple(found)


def _grouped(words: Iterator[str]) -> Iterator[tuple[tuple[Role, str] | None, str]]:
    """Yield the party that is meant, or None, and what was written."""
    roles = tuple(Role)
    for word in words:
        role, slash, name = word.partition("/")
        if role not in roles:
            yield None, word
            continue
        if not slash:
            following = next(words, None)
            if following is None:
                raise PkiError(f"{word} is a role; its NAME is missing")
            name = following
        elif Path(word).is_file():  # a file by its relative path, such as ven/ven-1/ec.pem
            yield None, word
            continue
        yield (Role(role), name), f"{role}{slash or ' '}{name}"


def _of_file(issued: tuple[Issued, ...], word: str) -> list[Issued]:
    path = Path(word)
    if not path.is_file():
        return []
    certificate = read_certificates(path)[0]
    found = [each for each in issued if each.certificate == certificate]
    if not found:
        raise PkiError(f"{path}: {certificate.subject.rfc4514_string()} was not issued here")
    return found

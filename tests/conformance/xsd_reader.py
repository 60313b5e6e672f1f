"""A small reader of XML Schema, as far as the official OpenADR files use it; independent of our codec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from lxml import etree

Node: TypeAlias = etree._Element
XS: Final = "{http://www.w3.org/2001/XMLSchema}"
MANY: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Particle:
    """One element of a content model: its name, its declaration, how often, and whether from a choice."""

    name: str
    declaration: Node
    least: int
    most: int
    choice: bool


class Schemas:
    """The official schema files that an entry file imports, directly or not."""

    def __init__(self, entry: Path) -> None:
        self.files: dict[Path, Node] = {}
        self._load(entry)
        self._globals: dict[tuple[str, str], Node] = {}
        self.heads: dict[str, list[str]] = {}
        for root in self.files.values():
            space = root.get("targetNamespace") or ""
            for node in root.iterchildren(
                f"{XS}element", f"{XS}complexType", f"{XS}simpleType", f"{XS}attribute"
            ):
                name = f"{{{space}}}{node.get('name')}"
                kind = (
                    etree.QName(node).localname.replace("complexType", "type").replace("simpleType", "type")
                )
                self._globals[kind, name] = node
                head = node.get("substitutionGroup")
                if head:
                    self.heads.setdefault(self.resolve(node, head), []).append(name)

    def _load(self, path: Path) -> None:
        if path in self.files:
            return
        self.files[path] = etree.parse(path).getroot()
        for child in self.files[path].iterchildren(f"{XS}import", f"{XS}include"):
            location = child.get("schemaLocation")
            if location and "://" not in location:
                self._load(path.parent / location)

    def resolve(self, node: Node, name: str) -> str:
        """Return a prefixed name of a schema document in Clark notation."""
        prefix, _, local = name.rpartition(":")
        return f"{{{node.nsmap[prefix or None]}}}{local}"

    def element(self, name: str) -> Node:
        """Return the global declaration of an element."""
        return self._globals["element", name]

    def attribute(self, name: str) -> Node:
        """Return the global declaration of an attribute."""
        return self._globals["attribute", name]

    def type_of(self, declaration: Node) -> Node | str | None:
        """Return the type of an element or attribute: a node, the name of a built-in, or None (anyType)."""
        for child in declaration.iterchildren(f"{XS}complexType", f"{XS}simpleType"):
            return child
        named = declaration.get("type")
        if named:
            return self._named(declaration, named)
        head = declaration.get("substitutionGroup")
        return self.type_of(self.element(self.resolve(declaration, head))) if head else None

    def _named(self, node: Node, name: str) -> Node | str:
        full = self.resolve(node, name)
        return full if full.startswith(XS) else self._globals["type", full]

    def particles(self, kind: Node | str | None) -> list[Particle]:
        """Return the elements of a type's content in order; none for a simple type."""
        found: list[Particle] = []
        if kind is None or isinstance(kind, str) or kind.tag != f"{XS}complexType":
            return found
        derived = next(kind.iter(f"{XS}extension", f"{XS}restriction"), None)
        body = kind if derived is None else derived
        if derived is not None and derived.tag == f"{XS}extension":
            found += self.particles(self._named(derived, derived.get("base") or ""))
        for group in body.iterchildren(f"{XS}sequence", f"{XS}choice"):
            assert group.get("minOccurs", "1") == group.get("maxOccurs", "1") == "1"
            for child in group.iterchildren(etree.Element):
                if child.tag == f"{XS}element":
                    found.append(self._particle(child, group.tag == f"{XS}choice"))
                else:
                    assert child.tag == f"{XS}annotation", child.tag
        return found

    def _particle(self, child: Node, choice: bool) -> Particle:
        reference = child.get("ref")
        if reference:
            name = self.resolve(child, reference)
            declaration = self.element(name)
        else:
            name = f"{{{child.getroottree().getroot().get('targetNamespace')}}}{child.get('name')}"
            declaration = child
        most = child.get("maxOccurs", "1")
        return Particle(
            name=name,
            declaration=declaration,
            least=int(child.get("minOccurs", "1")),
            most=MANY if most == "unbounded" else int(most),
            choice=choice,
        )

    def attributes(self, kind: Node | str | None) -> list[str]:
        """Return the names of a type's attributes, inherited ones first."""
        if kind is None or isinstance(kind, str):
            return []
        found: list[str] = []
        extension = next(kind.iter(f"{XS}extension"), None)
        if extension is not None:
            found += self.attributes(self._named(extension, extension.get("base") or ""))
        for node in kind.iterchildren(f"{XS}attribute"):
            reference = node.get("ref")
            found.append(self.resolve(node, reference) if reference else node.get("name") or "")
        return found

    def substitutes(self, head: str) -> list[str]:
        """Return every element that can stand for a head, itself included unless it is abstract."""
        found = [] if self.element(head).get("abstract") == "true" else [head]
        for name in self.heads.get(head, []):
            found += self.substitutes(name)
        return found

    def base(self, kind: Node | str | None) -> str:
        """Return the built-in a simple type comes from; ``union`` and ``list`` for those."""
        if isinstance(kind, str):
            return kind.removeprefix(XS)
        assert kind is not None
        assert kind.tag == f"{XS}simpleType"
        for node in kind.iterchildren(f"{XS}union", f"{XS}list"):
            return etree.QName(node).localname
        restriction = next(kind.iterchildren(f"{XS}restriction"))
        return self.base(self._named(restriction, restriction.get("base") or ""))

    def type_name(self, kind: Node | str | None) -> str:
        """Return the local name of a named type."""
        return (
            kind.removeprefix(XS)
            if isinstance(kind, str)
            else (kind.get("name") or "")
            if kind is not None
            else ""
        )

    def enumeration(self, kind: Node | str | None) -> list[str]:
        """Return the enumerated values of a simple type, through unions."""
        if kind is None or isinstance(kind, str):
            return []
        union = next(kind.iterchildren(f"{XS}union"), None)
        if union is not None:
            members = (union.get("memberTypes") or "").split()
            return [value for name in members for value in self.enumeration(self._named(union, name))]
        return [node.get("value") or "" for node in kind.iter(f"{XS}enumeration")]

"""The official schema as the oracle of the model: names, order, cardinality, types and enumerations.

The schema is read here by a reader of its own (xsd_reader.py), not by the codec.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import types
import typing
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import pytest

from schemas.oadr20b import enums, wire
from schemas.oadr20b.codec import MESSAGE_TYPES, PAYLOAD, SIGNED_OBJECT
from schemas.oadr20b.declare import A, Choice, E, clark, layout_of
from schemas.oadr20b.model import AnyMessage
from schemas.oadr20b.units import ItemBase, ItemKind, form_of
from schemas.oadr20b.xmltypes import Duration
from tests.conformance.xsd_reader import MANY, XS, Node, Particle, Schemas
from tests.property.codec_strategies import AT_LEAST_ONE

SHA256: Final = {
    "oadr_20b.xsd": "e0a805eb00904e7d1e24f8f5ac357af8188728626744e6e583f32906c4da5f38",
    "oadr_ISO_ISO3AlphaCurrencyCode_20100407.xsd": (
        "db723d782112e1e41ddc43f9e372cf89a08d6a3e22ccd9b6680eefa3da61a910"
    ),
    "oadr_atom.xsd": "632c034d6f759727eb80d7c1092542e807b47714a83b1903c18f5b931e47b948",
    "oadr_ei_20b.xsd": "a7a36814448eaf45725b9504de97a50a307b0b5730e8aecee6b5a6a39113a6a6",
    "oadr_emix_20b.xsd": "23fb67f06e90fdc97c11652914bb3947328c25f1d1e288b740ae16f393261180",
    "oadr_gml_20b.xsd": "52c460c35e5ef88b3310ec511a1927e1ff117d99a35c72f0012b99ab4ec59ba3",
    "oadr_greenbutton.xsd": "98634e64b787482d047771e1543db61b2fb09878a22eb4452b36ff1d4e888e60",
    "oadr_power_20b.xsd": "580519d1382e302629a2ec97d025338d88ea58fa7cee7608d82acc9f9be0c2da",
    "oadr_pyld_20b.xsd": "8179a761b3d501b7d904a08c71bd1a31eac508cc95d4e374f1c832103bdcf053",
    "oadr_siscale_20b.xsd": "b050c37987578f414cb3dc32a0ae9d0db9271a83ab6fecd00de039a32262068c",
    "oadr_strm_20b.xsd": "ab9dd466ef530f6b8601b623cd065d3788e349514a22501b6c0cc648f358fca1",
    "oadr_xcal_20b.xsd": "7936dc01319eca5be01ce6b0603526d6db4e558632b0495290c51a6ea57e3f2d",
    "oadr_xml.xsd": "5ffc04c6cece79004676c8d08f1acc51878cfa30586356e858d343e17020e451",
    "oadr_xmldsig-properties-schema.xsd": "593dc230b1de8e47ba51559c2e9e33d2e881f4cca5b6145d0ce3d8c5a35688dc",
    "oadr_xmldsig.xsd": "0a1c72881eee256a8cc80bfcb5d98b309760a368c886ef26eda65df546f4cf76",
    "oadr_xmldsig11.xsd": "ba2d87fa988c7a4eb2882424c9e0aa9d399fd6c9cbe1e3b5a13736706da8c3ab",
}

NOT_MODELLED: Final = {
    "{http://www.w3.org/2000/09/xmldsig#}Signature": "read by certs.xmldsig, before the message is decoded",
    clark("oadr:oadrGBPayload"): "Green Button data, refused before validation",
    clark("oadr:oadrGBDataDescription"): "Green Button description, refused before validation",
    clark("power:energyItem"): "its type is abstract; energyReal and its like say what it could say",
    clark("power:powerItem"): "its type is abstract; powerReal and its like say what it could say",
}
"""Reachable elements without a field, each with the reason; what lies below them is not looked at."""

LEFT_TO_THE_SCHEMA: Final = {
    ItemKind.CURRENCY: "description and the currency codes: a list of 184 codes is no business of the model",
    ItemKind.CURRENCY_PER_KWH: "as currency",
    ItemKind.CURRENCY_PER_KW: "as currency",
    ItemKind.CURRENCY_PER_THM: "as currency",
    ItemKind.TEMPERATURE: "celsius or fahrenheit: no part of the product reads temperatures",
    ItemKind.POWER_REAL: "W or J/s: two names of one unit, and a peer may send either",
}
"""Units whose texts the schema enumerates and the model takes as they come."""

OPEN: Final[dict[str, type[StrEnum]]] = {
    "signalName": enums.SignalName,
    "optReason": enums.OptReason,
    "reportName": enums.ReportName,
    "reportType": enums.ReportType,
    "readingType": enums.ReadingType,
    "oadrDataQuality": enums.DataQuality,
}
"""Elements whose enumeration is open: the model types them as text and lends the constants."""

BASES: Final[dict[type, set[str]]] = {
    str: {"string", "token", "anyURI", "union", "list"},
    int: {"unsignedInt"},
    float: {"float"},
    bool: {"boolean"},
}

SCHEMAS: Final = Schemas(wire.schema_path())


def local(name: str) -> str:
    return name.rpartition("}")[2]


def shape(hint: Any) -> tuple[tuple[type, ...], bool, bool]:
    """Return the alternatives of a field's type, whether it is a tuple, and whether it may be None."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(kind for kind in members if kind is not type(None))
    many = typing.get_origin(kinds[0]) is tuple
    if many:
        (inner,) = {typing.get_args(kind)[0] for kind in kinds}
        kinds = typing.get_args(inner) if isinstance(inner, types.UnionType) else (inner,)
    return kinds, many, type(None) in members


class Comparison:
    """Walks a dataclass and the schema's type side by side and notes every element it has seen."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def element(self, cls: type, name: str, declaration: Node) -> None:
        kind = SCHEMAS.type_of(declaration)
        hints = typing.get_type_hints(cls, include_extras=True)
        fields = [(field, *typing.get_args(hints[field.name])[:2]) for field in dataclasses.fields(cls)]
        declared = [clark(marker.name) for _, _, marker in fields if isinstance(marker, A)]
        assert SCHEMAS.attributes(kind) == declared, cls
        parts = SCHEMAS.particles(kind)
        layout = layout_of(cls)
        if layout.inside:
            wrapper = parts[0]
            assert [part.name for part in parts] == [layout.inside, *([layout.then] if layout.then else [])]
            assert all(part.least == part.most == 1 for part in parts), cls
            self.seen |= {(name, part.name) for part in parts}
            name, parts = wrapper.name, SCHEMAS.particles(SCHEMAS.type_of(wrapper.declaration))
        children = [each for each in fields if not isinstance(each[2], A)]
        assert len(parts) == len(children), (cls, [part.name for part in parts])
        for part, (field, hint, marker) in zip(parts, children, strict=True):
            self.field(cls, field, hint, marker, name, part)

    def field(
        self, cls: type, field: dataclasses.Field[Any], hint: Any, marker: object, above: str, part: Particle
    ) -> None:
        kinds, many, optional = shape(hint)
        where = f"{cls.__name__}.{field.name}"
        if isinstance(marker, Choice):
            check_cardinality(where, [part], -1, field, many, optional)
            self.alternatives(where, kinds, above, part)
            return
        assert isinstance(marker, E)
        steps = marker.path.split("/")
        chain = [part]
        while len(chain) < len(steps):
            inner = SCHEMAS.particles(SCHEMAS.type_of(chain[-1].declaration))
            assert len(inner) == 1, f"{where}: {chain[-1].name} holds more than the model reads"
            chain += inner
        assert [each.name for each in chain] == [clark(step.rstrip("*")) for step in steps], where
        self.seen |= {(above, part.name)}
        self.seen |= {(outer.name, inner.name) for outer, inner in itertools.pairwise(chain)}
        starred = [i for i, step in enumerate(steps) if step.endswith("*")]
        check_cardinality(where, chain, starred[0] if starred else len(steps) - 1, field, many, optional)
        last = chain[-1]
        (kind,) = kinds
        if dataclasses.is_dataclass(kind) and kind is not Duration:
            self.element(kind, last.name, last.declaration)
        else:
            check_leaf(where, kind, marker.collapse, last)

    def alternatives(self, where: str, kinds: tuple[type, ...], above: str, part: Particle) -> None:
        concrete = [name for name in SCHEMAS.substitutes(part.name) if name not in NOT_MODELLED]
        self.seen |= {(above, name) for name in concrete}
        if kinds == (ItemBase,):
            assert sorted(concrete) == sorted(clark(kind) for kind in ItemKind), where
            for name in concrete:
                self.unit(name)
            return
        assert sorted(concrete) == sorted(layout_of(kind).tag for kind in kinds), where
        for kind in kinds:
            self.element(kind, layout_of(kind).tag, SCHEMAS.element(layout_of(kind).tag))

    def unit(self, name: str) -> None:
        for part in SCHEMAS.particles(SCHEMAS.type_of(SCHEMAS.element(name))):
            self.seen.add((name, part.name))
            for inner in SCHEMAS.particles(SCHEMAS.type_of(part.declaration)):
                self.seen.add((part.name, inner.name))


def check_cardinality(
    where: str, chain: list[Particle], starred: int, field: dataclasses.Field[Any], many: bool, optional: bool
) -> None:
    assert all(each.most in (1, MANY) for each in chain), where
    repeated = [i for i, each in enumerate(chain) if each.most == MANY]
    assert many == bool(repeated), where
    if not many:
        assert optional == any(each.least == 0 for each in chain), where
        assert optional == (field.default is None), where
        return
    (repeat,) = repeated
    assert starred in (repeat, -1), f"{where}: the schema repeats {chain[repeat].name}"
    assert all(each.least == 1 for each in chain[repeat + 1 :]), where
    assert optional == any(each.least == 0 for each in chain[:repeat]), where
    if optional:
        owner, name = where.split(".")
        listed = any(cls.__name__ == owner and each == name for cls, each in AT_LEAST_ONE)
        assert listed == (chain[repeat].least == 1), where
        assert field.default is None, where
    else:
        expected = () if chain[repeat].least == 0 else dataclasses.MISSING
        assert field.default == expected, where


def check_leaf(where: str, kind: type, collapse: bool, part: Particle) -> None:
    xsd = SCHEMAS.type_of(part.declaration)
    values = SCHEMAS.enumeration(xsd)
    if kind is datetime:
        assert SCHEMAS.type_name(xsd) == "DateTimeType", where
    elif kind is Duration:
        assert SCHEMAS.type_name(xsd) == "DurationValueType", where
    elif issubclass(kind, StrEnum):
        assert [member.value for member in kind] == values, where
        assert SCHEMAS.base(xsd) in ("token", "string"), where
    else:
        base = SCHEMAS.base(xsd)
        assert base in BASES[kind], where
        assert collapse == (kind is str and base != "string"), where
        assert bool(values) == (local(part.name) in OPEN) == (base == "union"), where
        if values:
            assert [member.value for member in OPEN[local(part.name)]] == values, where


def reachable() -> tuple[set[tuple[str, str]], set[str]]:
    """Return every (parent, child) from oadrPayload down, and what was met of NOT_MODELLED."""
    edges: set[tuple[str, str]] = set()
    met: set[str] = set()
    todo = [(PAYLOAD, SCHEMAS.element(PAYLOAD))]
    done: set[tuple[str, int]] = set()
    while todo:
        name, declaration = todo.pop()
        if (name, id(declaration)) in done:
            continue
        done.add((name, id(declaration)))
        for part in SCHEMAS.particles(SCHEMAS.type_of(declaration)):
            referred = part.declaration.getparent() is part.declaration.getroottree().getroot()
            for child in SCHEMAS.substitutes(part.name) if referred else [part.name]:
                if child in NOT_MODELLED:
                    met.add(child)
                    continue
                edges.add((name, child))
                todo.append((child, SCHEMAS.element(child) if referred else part.declaration))
    return edges, met


def test_the_schema_files_are_the_ones_this_model_was_compared_with() -> None:
    folder = wire.schema_path().parent
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.xsd")}
    assert found == SHA256
    assert {path.name for path in SCHEMAS.files} <= set(SHA256)


def test_a_signed_object_holds_exactly_the_messages_of_the_model() -> None:
    parts = SCHEMAS.particles(SCHEMAS.type_of(SCHEMAS.element(SIGNED_OBJECT)))
    assert all(part.choice for part in parts)
    assert [part.name for part in parts] == [layout_of(cls).tag for cls in MESSAGE_TYPES]
    assert len(parts) == 23


@pytest.mark.parametrize("cls", MESSAGE_TYPES, ids=lambda cls: cls.__name__)
def test_message_follows_the_schema(cls: type[AnyMessage]) -> None:
    tag = layout_of(cls).tag
    Comparison().element(cls, tag, SCHEMAS.element(tag))


def test_every_reachable_element_has_a_field_or_a_reason() -> None:
    comparison = Comparison()
    comparison.seen = {(PAYLOAD, SIGNED_OBJECT)}
    for cls in MESSAGE_TYPES:
        tag = layout_of(cls).tag
        comparison.seen.add((SIGNED_OBJECT, tag))
        comparison.element(cls, tag, SCHEMAS.element(tag))
    edges, met = reachable()
    assert edges - comparison.seen == set()
    assert comparison.seen - edges == set()
    assert met == set(NOT_MODELLED)
    assert len(edges) > 200


@pytest.mark.parametrize("kind", ItemKind)
def test_unit_follows_the_schema(kind: ItemKind) -> None:
    form = form_of(kind)
    parts = SCHEMAS.particles(SCHEMAS.type_of(SCHEMAS.element(clark(kind))))
    assert all(part.least == part.most == 1 for part in parts)
    expected = ["itemDescription", "itemUnits"]
    expected += ["siScaleCode"] * form.has_scale + ["pulseFactor"] * form.has_pulse_factor
    expected += ["powerAttributes"] * form.has_attributes
    assert [local(part.name) for part in parts] == expected
    description, units = parts[0].declaration, parts[1].declaration
    assert description.get("fixed") == form.description
    assert units.get("fixed") == form.units
    enumerated = any(SCHEMAS.enumeration(SCHEMAS.type_of(node)) for node in (description, units))
    assert enumerated == (kind in LEFT_TO_THE_SCHEMA)
    free = {SCHEMAS.base(SCHEMAS.type_of(node)) for node in (description, units) if not node.get("fixed")}
    assert ("string" in free) == (kind is ItemKind.CUSTOM_UNIT)  # whose white space the codec keeps


def test_scale_codes_and_their_powers_of_ten_follow_the_schema() -> None:
    kind = SCHEMAS.type_of(SCHEMAS.element(clark("scale:siScaleCode")))
    assert sorted(SCHEMAS.enumeration(kind)) == sorted(enums.SiScale)
    assert kind is not None
    assert not isinstance(kind, str)
    exponents = {
        node.get("value"): int(node.findtext(f".//{XS}appinfo") or "")
        for node in kind.iter(f"{XS}enumeration")
    }
    assert exponents == {code.value: code.exponent for code in enums.SiScale}

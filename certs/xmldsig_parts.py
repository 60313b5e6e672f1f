"""The shape of a signed payload: what may be in it, where each part is, and the text of a new signature.

Both paths of verification, the production one and the xmlsig one, start from :func:`dissect`, which refuses
every document whose signed parts are not exactly the parts that will be read.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from lxml import etree

from schemas.oadr20b.errors import (
    BadSignature,
    ForbiddenAlgorithm,
    NoReplayProtect,
    NotSigned,
    SignatureWrapping,
)

__all__ = [
    "C14N",
    "C14N_COMMENTS",
    "DS",
    "DSP",
    "OADR",
    "SIGNATURE",
    "SIGNED_OBJECT",
    "Element",
    "Parts",
    "Reference",
    "Scope",
    "canonical",
    "decode_base64",
    "dissect",
    "method_uri",
    "read_protection",
]

Element = etree._Element

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
DSP: Final = "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties"
OADR: Final = "http://openadr.org/oadr-2.0b/2012/07"
C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_COMMENTS: Final = C14N + "#WithComments"
SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"

PAYLOAD: Final = f"{{{OADR}}}oadrPayload"
SIGNED_OBJECT: Final = f"{{{OADR}}}oadrSignedObject"
SIGNATURE: Final = f"{{{DS}}}Signature"
REPLAY_PROTECT: Final = f"{{{DSP}}}ReplayProtect"
_WITH_COMMENTS: Final = {C14N: False, C14N_COMMENTS: True}
_XML_NAMESPACE: Final = "{http://www.w3.org/XML/1998/namespace}"
_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d{0,30})?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_ALL_IDS: Final = etree.XPath(
    "//@*[local-name() = 'Id' or local-name() = 'ID' or local-name() = 'id']", smart_strings=False
)
_EMPTY: Final = re.compile("></ds:(?:Transform|DigestMethod|CanonicalizationMethod|SignatureMethod)>")
_CHAIN: Final = tuple(
    f"{{{DS}}}{name}" for name in ("SignatureProperty", "SignatureProperties", "Object", "Signature")
)


def canonical(element: Element, method: str) -> bytes:
    """Return an element, where it stands, in inclusive Canonical XML 1.0.

    Raises:
        ForbiddenAlgorithm: for any other method.
        BadSignature: if it has no canonical form, as with a relative namespace.
    """
    with_comments = _WITH_COMMENTS.get(method)
    if with_comments is None:
        raise ForbiddenAlgorithm(f"canonicalisation {method[:100]}")
    try:
        return etree.tostring(element, method="c14n", exclusive=False, with_comments=with_comments)
    except etree.C14NError as err:
        raise BadSignature(f"{etree.QName(element).localname} has no canonical form") from err


def method_uri(*, rsa: bool) -> str:
    """Return the signature method that goes with a kind of key; there is one for each."""
    return RSA_SHA256 if rsa else ECDSA_SHA256


# --- reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One reference of a signature: the element it covers, how it is canonicalised, its digest."""

    target: Element
    c14n: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What :func:`dissect` found in a payload; nothing of it is verified yet.

    Attributes:
        signed: The payload's own oadrSignedObject.
        signature: The ds:Signature.
        info: Its ds:SignedInfo.
        c14n: Canonicalisation of the SignedInfo, one of the two allowed.
        method: Signature method, as in the document.
        value: The signature value.
        references: Two: the signed object, and the part of the signature that holds ReplayProtect.
        signed_first: Whether they are in this order in the document.
        timestamp: The sending moment, UTC.
        nonce: The nonce.
    """

    signed: Element
    signature: Element
    info: Element
    c14n: str
    method: str
    value: bytes
    references: tuple[Reference, Reference]
    signed_first: bool
    timestamp: datetime
    nonce: str


def dissect(payload: Element) -> Parts:
    """Return the parts of a signed payload.

    Raises:
        NotSigned: if there is no signature at all.
        SignatureWrapping: if the payload is not exactly one signature followed by one signed object, an Id is
            not unique, or the references are not exactly the signed object and ReplayProtect.
        NoReplayProtect: if ReplayProtect is missing, malformed or not covered.
        ForbiddenAlgorithm: for a canonicalisation, transform or digest that is not allowed.
        BadSignature: for anything else that is not as it should be.
    """
    signature, signed = _outline(payload)
    info, value = _children(signature)
    steps = _named(info, "CanonicalizationMethod", "SignatureMethod", "Reference", "Reference")
    for step in steps[:2]:
        _no_children(step)
    c14n = steps[0].get("Algorithm", "")
    if c14n not in _WITH_COMMENTS:
        raise ForbiddenAlgorithm(f"canonicalisation {c14n[:100]}")
    protect = _replay_protect(payload, signature)
    by_id = _ids(payload, signed, protect)
    found = [_reference(step, by_id) for step in steps[2:]]
    covers = [each for each in found if each is not None and each.target is signed]
    others = [each for each in found if each is None or each.target is not signed]
    if len(covers) != 1:
        raise SignatureWrapping("the signature does not reference the signed object of this payload once")
    if others[0] is None:
        raise NoReplayProtect("no reference of the signature covers ReplayProtect")
    timestamp, nonce = _read_protect(protect)
    return Parts(
        signed=signed,
        signature=signature,
        info=info,
        c14n=c14n,
        method=steps[1].get("Algorithm", ""),
        value=_base64(value),
        references=(covers[0], others[0]),
        signed_first=found[0] is covers[0],
        timestamp=timestamp,
        nonce=nonce,
    )


def _outline(payload: Element) -> tuple[Element, Element]:
    if payload.tag != PAYLOAD or payload.getparent() is not None:
        raise SignatureWrapping("the root is not an oadrPayload")
    if next(payload.iter(SIGNATURE), None) is None:
        raise NotSigned("the message has no XML signature")
    if payload.getroottree().docinfo.internalDTD is not None:
        raise BadSignature("a signed message has no document type declaration")
    if next(payload.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity), None) is not None:
        # Canonicalisation drops comments, so anybody could put some in, and they split the text of a value.
        raise BadSignature("a signed message has no comments, processing instructions or entities")
    children = list(payload)
    if [child.tag for child in children] != [SIGNATURE, SIGNED_OBJECT]:
        raise SignatureWrapping("the payload is not one signature followed by one signed object")
    for tag in (SIGNATURE, SIGNED_OBJECT):
        if sum(1 for _ in payload.iter(tag)) != 1:
            raise SignatureWrapping(f"more than one {etree.QName(tag).localname}")
    for element in (payload, children[0], *(each for each in children[0].iter(f"{{{DS}}}Object"))):
        # lxml does not carry xml:lang and the like down to a canonicalised part, as the standard wants.
        if any(name.startswith(_XML_NAMESPACE) for name in element.keys()):  # noqa: SIM118  # lxml
            raise BadSignature("xml: attributes are not accepted around signed parts")
    return children[0], children[1]


def _children(signature: Element) -> tuple[Element, Element]:
    tags = [etree.QName(child).localname for child in signature if etree.QName(child).namespace == DS]
    if len(tags) != len(signature) or tags not in (
        ["SignedInfo", "SignatureValue", "Object"],
        ["SignedInfo", "SignatureValue", "KeyInfo", "Object"],
    ):
        if "Object" not in tags:
            raise NoReplayProtect("the signature has no ds:Object with ReplayProtect")
        raise BadSignature("the signature is not SignedInfo, SignatureValue, KeyInfo and one Object")
    return signature[0], signature[1]


def _named(parent: Element, *names: str) -> list[Element]:
    children = list(parent)
    if [child.tag for child in children] != [f"{{{DS}}}{name}" for name in names]:
        if names[-1] == "Reference":
            raise SignatureWrapping("SignedInfo does not hold exactly two references")
        raise BadSignature(f"{etree.QName(parent).localname} does not hold {', '.join(names)}")
    return children


def _no_children(element: Element) -> None:
    if len(element):
        raise ForbiddenAlgorithm(f"{etree.QName(element).localname} with parameters")


def _ids(payload: Element, signed: Element, protect: Element) -> dict[str, Element]:
    """Return the parts that may be referenced, by their Ids; no other element can be."""
    values = _ALL_IDS(payload)
    assert isinstance(values, list)
    if len(set(values)) != len(values):
        raise SignatureWrapping("an Id is not unique")
    own = {element.get("Id"): element for element in (signed, *_holders(protect))}
    own[signed.get(f"{{{OADR}}}Id")] = signed
    return {value: element for value, element in own.items() if value}


def _reference(step: Element, by_id: dict[str, Element]) -> Reference | None:
    """Return a reference, or None if it is to something that does not matter to us."""
    uri = step.get("URI") or ""
    target = by_id.get(uri[1:]) if uri.startswith("#") else None
    transforms = [child for child in step if child.tag == f"{{{DS}}}Transforms"]
    names = ("Transforms",) * len(transforms) + ("DigestMethod", "DigestValue")
    method, digest_value = _named(step, *names)[-2:]
    c14n = C14N
    for each in transforms:
        if len(each) != 1:
            raise ForbiddenAlgorithm(f"{len(each)} transforms in a reference, one is allowed")
        c14n = each[0].get("Algorithm", "")
        if each[0].tag != f"{{{DS}}}Transform" or c14n not in _WITH_COMMENTS:
            raise ForbiddenAlgorithm(f"transform {c14n[:100]}")
        _no_children(each[0])
    _no_children(method)
    if method.get("Algorithm") != SHA256:
        raise ForbiddenAlgorithm(f"digest {method.get('Algorithm', '')[:100]}")
    digest = _base64(digest_value)
    return Reference(target=target, c14n=c14n, digest=digest) if target is not None else None


def _replay_protect(payload: Element, signature: Element) -> Element:
    found = list(payload.iter(REPLAY_PROTECT))
    if len(found) != 1:
        raise NoReplayProtect(f"{len(found)} ReplayProtect in the message, one is needed")
    holders = _holders(found[0])
    if tuple(each.tag for each in holders) != _CHAIN[:-1] or holders[-1].getparent() is not signature:
        raise NoReplayProtect("ReplayProtect is not a signature property of the message's signature")
    return found[0]


def _holders(protect: Element) -> tuple[Element, ...]:
    """The property, the list of properties and the object around ReplayProtect; each may be referenced."""
    return tuple(list(protect.iterancestors())[:3])


def _read_protect(protect: Element) -> tuple[datetime, str]:
    if [child.tag for child in protect] != [f"{{{DSP}}}timestamp", f"{{{DSP}}}nonce"]:
        raise NoReplayProtect("ReplayProtect is not a timestamp and a nonce")
    if len(protect[0]) or len(protect[1]):
        raise NoReplayProtect("the timestamp or the nonce of ReplayProtect is malformed")
    return read_protection(protect[0].text or "", protect[1].text or "")


def read_protection(timestamp: str, nonce: str) -> tuple[datetime, str]:
    """Return the time stamp, UTC, and the nonce from their texts.

    Raises:
        NoReplayProtect: if one of them is malformed.
    """
    match = _TIMESTAMP.fullmatch(timestamp.strip())
    nonce = nonce.strip()
    if match is None or not nonce:
        raise NoReplayProtect("the timestamp or the nonce of ReplayProtect is malformed")
    seconds, fraction, zone = match.groups()
    try:
        stamp = datetime.fromisoformat(f"{seconds}.{(fraction or '0').ljust(6, '0')}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise NoReplayProtect(f"the timestamp of ReplayProtect is malformed: {err}") from err
    return stamp, nonce


def _base64(element: Element) -> bytes:
    _no_children(element)
    return decode_base64(element.text or "", etree.QName(element).localname)


def decode_base64(text: str, name: str) -> bytes:
    """Return what a text in base64 stands for; blanks in it do not matter.

    Raises:
        BadSignature: if it is none; ``name`` is that of its element.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadSignature(f"{name} is not base64") from err


# --- writing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scope:
    """The texts of a new signature for one set of namespaces in scope.

    Canonical XML repeats every namespace in scope on the apex of a signed part, so the parts are written in
    canonical form as text and only the digests, the time and the nonce are filled in. The same texts make the
    document, where the repeated declarations disappear on insertion.

    Attributes:
        signed_info: Takes two digests.
        properties: The ds:Object; takes time stamp and nonce.
        signature: The whole; takes SignedInfo, the value and the ds:Object.
        inside: The same as it stands in the document; takes the digests, the value, time stamp and nonce.
    """

    signed_info: str
    properties: str
    signature: str
    inside: str

    @classmethod
    def of(cls, nsmap: dict[str | None, str], *, method: str, certificate: str, signed_id: str) -> Scope:
        """Return the texts for a payload with these namespaces.

        Args:
            nsmap: Prefix to namespace, as declared on the payload.
            method: Signature method.
            certificate: Base64 of the signer's certificate.
            signed_id: Id of the signed object.
        """
        scope = {prefix or "": uri for prefix, uri in nsmap.items()} | {"ds": DS}
        apex = "".join(
            f" xmlns{':' if prefix else ''}{prefix}={_attribute(scope[prefix])}" for prefix in sorted(scope)
        )
        reference = (
            f'<ds:Reference URI="#%s"><ds:Transforms><ds:Transform Algorithm="{C14N}"></ds:Transform>'
            f'</ds:Transforms><ds:DigestMethod Algorithm="{SHA256}"></ds:DigestMethod>'
            "<ds:DigestValue>{}</ds:DigestValue></ds:Reference>"
        )
        info = (
            f'<ds:SignedInfo{apex}><ds:CanonicalizationMethod Algorithm="{C14N}">'
            f'</ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>'
            f"{reference % _braces(signed_id)}{reference % 'prop'}</ds:SignedInfo>"
        )
        properties = (
            f'<ds:Object{apex} Id="prop"><ds:SignatureProperties>'
            '<ds:SignatureProperty Id="replayProtect" Target="#signature">'
            f'<dsp:ReplayProtect xmlns:dsp="{DSP}"><dsp:timestamp>{{}}</dsp:timestamp>'
            "<dsp:nonce>{}</dsp:nonce></dsp:ReplayProtect></ds:SignatureProperty></ds:SignatureProperties>"
            "</ds:Object>"
        )
        if scope.get("dsp") == DSP:
            properties = properties.replace(f' xmlns:dsp="{DSP}"><dsp:timestamp>', "><dsp:timestamp>")
        signature = (
            f'<ds:Signature{apex} Id="signature">{{}}<ds:SignatureValue>{{}}</ds:SignatureValue>'
            f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>"
            "</ds:KeyInfo>{}</ds:Signature>"
        )
        inside = _EMPTY.sub("/>", signature.format(info, "{}", properties).replace(apex, ""))
        if scope != {prefix or "": uri for prefix, uri in nsmap.items()}:
            inside = inside.replace("<ds:Signature", f'<ds:Signature xmlns:ds="{DS}"', 1)
        return cls(info, properties, signature, inside)


def _attribute(value: str) -> str:
    text = escape(value, {'"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}).replace("&gt;", ">")
    return f'"{_braces(text)}"'


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")

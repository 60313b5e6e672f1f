"""Values as they come over the wire: nothing is guessed from the look of a text."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from lxml import etree

from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES, decode_element, encode_element, tag_of
from schemas.oadr20b.declare import NAMESPACES, clark
from schemas.oadr20b.enums import OptType, ProfileName, TransportName
from schemas.oadr20b.errors import InvalidValue, NotModelled, SchemaViolation, WireError
from schemas.oadr20b.model import (
    CancelReport,
    CreatePartyRegistration,
    EiResponse,
    EventSignal,
    Interval,
    Poll,
    Report,
    ReportDescription,
    ReportPayload,
    RequestEvent,
    Response,
    Target,
    UpdateReport,
)
from schemas.oadr20b.units import ItemBase, ItemKind, PowerAttributes
from schemas.oadr20b.xmltypes import parse_datetime

HEAD = "<p:oadrPayload " + " ".join(
    f'xmlns:{prefix}="{uri}"' for prefix, uri in {**NAMESPACES, "p": NAMESPACES["oadr"]}.items()
)
T0 = parse_datetime("2018-05-16T10:00:00Z")


def body(message: str, head: str = HEAD) -> bytes:
    return f"{head}><p:oadrSignedObject>{message}</p:oadrSignedObject></p:oadrPayload>".encode()


def poll(ven_id: str) -> Poll:
    message = wire.read(body(f"<p:oadrPoll>{ven_id}</p:oadrPoll>"))
    assert isinstance(message, Poll)
    return message


def request_event(reply_limit: str) -> int | None:
    part = f"<pyld:requestID/><ei:venID>v</ei:venID><pyld:replyLimit>{reply_limit}</pyld:replyLimit>"
    message = wire.read(
        body(f"<p:oadrRequestEvent><pyld:eiRequestEvent>{part}</pyld:eiRequestEvent></p:oadrRequestEvent>")
    )
    assert isinstance(message, RequestEvent)
    return message.reply_limit


def cancel_report(to_follow: str) -> bool:
    part = f"<pyld:requestID/><ei:reportRequestID/><pyld:reportToFollow>{to_follow}</pyld:reportToFollow>"
    message = wire.read(body(f"<p:oadrCancelReport>{part}</p:oadrCancelReport>"))
    assert isinstance(message, CancelReport)
    return message.report_to_follow


def report(payload: str) -> Report:
    message = wire.read(
        body(
            "<p:oadrUpdateReport><pyld:requestID/><p:oadrReport><strm:intervals><ei:interval>"
            f"<p:oadrReportPayload><ei:rID>r</ei:rID>{payload}</p:oadrReportPayload></ei:interval>"
            "</strm:intervals><ei:reportRequestID/><ei:reportSpecifierID/>"
            "<ei:createdDateTime>2018-05-16T10:00:00Z</ei:createdDateTime></p:oadrReport></p:oadrUpdateReport>"
        )
    )
    assert isinstance(message, UpdateReport)
    return message.reports[0]


def number(text: str) -> float:
    intervals = report(f"<ei:payloadFloat><ei:value>{text}</ei:value></ei:payloadFloat>").intervals
    assert intervals is not None
    (payload,) = intervals[0].payloads
    assert isinstance(payload, ReportPayload)
    assert payload == ReportPayload.of("r", payload.payload.value) or math.isnan(payload.payload.value)  # type: ignore[union-attr]  # a number was sent
    return payload.payload.value  # type: ignore[union-attr]  # a number was sent


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<ei:venID>a<!-- x -->b</ei:venID>", "ab"),
        ("<ei:venID><!-- x -->b</ei:venID>", "b"),
        ("<ei:venID>a<?pi x?>b<!-- -->c</ei:venID>", "abc"),
        ("<!-- x --><?pi?><ei:venID>a</ei:venID><!-- x -->", "a"),
        ("<ei:venID><![CDATA[<a>]]>&amp;b</ei:venID>", "<a>&b"),
        ("<ei:venID>00123</ei:venID>", "00123"),
        ("<ei:venID>1e5</ei:venID>", "1e5"),
        ("<ei:venID>true</ei:venID>", "true"),
        ("<ei:venID>2018-05-16T00:00:00Z</ei:venID>", "2018-05-16T00:00:00Z"),
        ("<ei:venID>  a  b\n</ei:venID>", "  a  b\n"),
        ("<ei:venID> </ei:venID>", " "),
        ("<ei:venID/>", ""),
        ("<ei:venID>&#x1F50C;\u00e4</ei:venID>", "\U0001f50c\u00e4"),
    ],
)
def test_text_is_what_it_is(content: str, expected: str) -> None:
    assert poll(content).ven_id == expected


@pytest.mark.parametrize("text", ["<&>\"']]>", " a ", "\r\n\t", "\r", "\x85\u2028", "\u00a0x\u00a0", "0012"])
def test_text_survives_writing(text: str) -> None:
    message = Response(response=EiResponse(code="200", description=text, request_id=text), ven_id=text)
    assert wire.read(wire.write(message)) == message


def test_prefixes_are_free_and_may_be_declared_anywhere() -> None:
    ei, oadr = NAMESPACES["ei"], NAMESPACES["oadr"]
    strange = f"""<oadrPayload xmlns="{oadr}"><ei:oadrSignedObject xmlns:ei="{oadr}">
      <oadrPoll xmlns:oadr="{ei}" oadr:schemaVersion="2.0b"><venID xmlns="{ei}">v</venID></oadrPoll>
      </ei:oadrSignedObject></oadrPayload>"""
    assert wire.read(strange.encode()) == Poll(ven_id="v")


def test_a_right_name_in_a_wrong_namespace_is_refused() -> None:
    with pytest.raises(SchemaViolation):
        poll(f'<venID xmlns="{NAMESPACES["oadr"]}">v</venID>')


def test_schema_location_is_accepted_and_not_followed() -> None:
    head = HEAD + (
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xsi:schemaLocation="http://openadr.org/oadr-2.0b/2012/07 /nonexistent/other.xsd"'
    )
    assert wire.read(body("<p:oadrPoll><ei:venID>v</ei:venID></p:oadrPoll>", head)) == Poll(
        ven_id="v", schema_version=None
    )


@pytest.mark.parametrize("text", ["2.0b", " 2.0b ", "\n2.0b\t"])
def test_schema_version_is_a_token(text: str) -> None:
    message = wire.read(body(f'<p:oadrPoll ei:schemaVersion="{text}"><ei:venID>v</ei:venID></p:oadrPoll>'))
    assert message == Poll(ven_id="v")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("false", False), ("0", False), (" true\n", True), (" 0 ", False)],
)
def test_booleans(text: str, expected: bool) -> None:
    assert cancel_report(text) is expected


@pytest.mark.parametrize("text", ["True", "yes", "", "2", "t rue"])
def test_what_is_no_boolean_is_refused(text: str) -> None:
    with pytest.raises(SchemaViolation):
        cancel_report(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("007", 7), ("4294967295", 2**32 - 1), (" 5\n", 5), ("+5", 5), ("-0", 0)],
)
def test_unsigned_ints(text: str, expected: int) -> None:
    assert request_event(text) == expected


@pytest.mark.parametrize("text", ["-1", "4294967296", "1.0", "1e3", "", "0x1", "9" * 400, "1_0", "٣"])
def test_what_is_no_unsigned_int_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        request_event(text)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_integers_out_of_range_are_not_written(value: int) -> None:
    with pytest.raises(InvalidValue):
        wire.write(RequestEvent(request_id="", ven_id="", reply_limit=value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-0.00001", -1e-5),
        (" 12.5\n", 12.5),
        ("INF", math.inf),
        ("-INF", -math.inf),
        ("1e400", math.inf),
        (".5", 0.5),
        ("5.", 5.0),
        ("00.10", 0.1),
    ],
)
def test_floats(text: str, expected: float) -> None:
    assert number(text) == expected


def test_not_a_number_is_read_and_written() -> None:
    assert math.isnan(number("NaN"))
    interval = Interval(payloads=(ReportPayload.of("r", math.nan),))
    message = UpdateReport(
        request_id="",
        reports=(
            Report(intervals=(interval,), report_request_id="", report_specifier_id="", created_date_time=T0),
        ),
    )
    written = wire.write(message)
    assert b">NaN<" in written
    assert wire.write(wire.read(written)) == written


@pytest.mark.parametrize("text", ["nan", "inf", "Infinity", "1_0", "", "1,5", "0x1p3", "٣"])
def test_what_is_no_float_is_refused(text: str) -> None:
    with pytest.raises(SchemaViolation):
        number(text)


@pytest.mark.parametrize("value", [1e-5, 1e22, -0.1, 123456789.123, 5e-324, 1.7e308, math.inf, -math.inf])
def test_floats_survive_exactly(value: float) -> None:
    interval = Interval(payloads=(ReportPayload.of("r", value),))
    report_ = Report(
        intervals=(interval,), report_request_id="", report_specifier_id="", created_date_time=T0
    )
    message = UpdateReport(request_id="", reports=(report_,))
    assert wire.read(wire.write(message)) == message


@pytest.mark.parametrize("text", ["optOut", " optOut ", "\n\toptOut"])
def test_white_space_around_an_enumerated_value_does_not_count(text: str) -> None:
    part = "<ei:optID/><ei:optType>{}</ei:optType><ei:optReason>{}</ei:optReason><ei:venID/>"
    message = wire.read(
        body(
            f"<p:oadrCreateOpt>{part.format(text, ' x-my   reason ')}"
            "<ei:createdDateTime>2018-05-16T10:00:00.5</ei:createdDateTime><pyld:requestID/><ei:eiTarget/>"
            "</p:oadrCreateOpt>"
        )
    )
    assert getattr(message, "opt_type", None) is OptType.OPT_OUT
    assert getattr(message, "opt_reason", None) == "x-my reason"
    assert getattr(message, "created_date_time", None) == T0
    assert getattr(message, "target", None) == Target()


def test_every_choice_of_the_signed_object_has_a_class_of_its_name() -> None:
    assert len(MESSAGE_TYPES) == len({tag_of(cls) for cls in MESSAGE_TYPES}) == 23
    for cls in MESSAGE_TYPES:
        assert tag_of(cls) == clark(f"oadr:oadr{cls.__name__}")


def test_registration_defaults_are_those_of_a_2_0b_http_ven() -> None:
    message = CreatePartyRegistration(request_id="1")
    assert (message.profile_name, message.transport_name) == (ProfileName.B, TransportName.SIMPLE_HTTP)
    assert wire.read(wire.write(message)) == message


def described(item: str) -> ItemBase | None:
    description = (
        f"<ei:rID/><ei:reportType>usage</ei:reportType>{item}<ei:readingType>Direct Read</ei:readingType>"
    )
    message = wire.read(
        body(
            "<p:oadrUpdateReport><pyld:requestID/><p:oadrReport>"
            f"<p:oadrReportDescription>{description}</p:oadrReportDescription>"
            "<ei:reportRequestID/><ei:reportSpecifierID/>"
            "<ei:createdDateTime>2018-05-16T10:00:00Z</ei:createdDateTime></p:oadrReport></p:oadrUpdateReport>"
        )
    )
    assert isinstance(message, UpdateReport)
    (found,) = message.reports[0].descriptions
    assert isinstance(found, ReportDescription)
    return found.item_base


def test_an_empty_element_with_a_fixed_value_stands_for_it() -> None:
    item = described(
        "<p:frequency><p:itemDescription/><p:itemUnits/><scale:siScaleCode>none</scale:siScaleCode></p:frequency>"
    )
    assert item == ItemBase(kind=ItemKind.FREQUENCY, description="Frequency", units="Hz")


def test_texts_of_a_custom_unit_keep_their_white_space_and_names_do_not() -> None:
    texts = "<p:itemDescription> {} </p:itemDescription><p:itemUnits> {} </p:itemUnits>"
    scale = "<scale:siScaleCode>k</scale:siScaleCode>"
    custom = described(f"<p:customUnit>{texts.format('a  b', 'u')}{scale}</p:customUnit>")
    assert custom is not None
    assert (custom.description, custom.units) == (" a  b ", " u ")
    price = described(f"<p:currencyPerKWh>{texts.format('currencyPerKWh', 'EUR')}{scale}</p:currencyPerKWh>")
    assert price is not None
    assert (price.description, price.units) == ("currencyPerKWh", "EUR")


def test_power_attributes_are_decimals() -> None:
    item = described(
        "<power:powerReal><power:itemDescription>RealPower</power:itemDescription>"
        "<power:itemUnits>W</power:itemUnits><scale:siScaleCode>none</scale:siScaleCode><power:powerAttributes>"
        "<power:hertz> 50.0</power:hertz><power:voltage>+230</power:voltage><power:ac>1</power:ac>"
        "</power:powerAttributes></power:powerReal>"
    )
    assert item is not None
    assert item.attributes == PowerAttributes(hertz=Decimal("50.0"), voltage=Decimal(230), ac=True)


def test_an_abstract_unit_with_a_type_of_its_own_is_refused_as_not_modelled() -> None:
    parts = "<power:itemDescription>RealEnergy</power:itemDescription><power:itemUnits>Wh</power:itemUnits>"
    with pytest.raises(NotModelled):
        described(
            '<power:energyItem i:type="power:EnergyRealType"'
            ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance">'
            f"{parts}<scale:siScaleCode>k</scale:siScaleCode></power:energyItem>"
        )


def test_elements_that_were_not_validated_give_typed_errors() -> None:
    element = encode_element(EiResponse(code="200", request_id=""), clark("ei:eiResponse"))
    assert decode_element(EiResponse, element) == EiResponse(code="200", request_id="")
    element.remove(element[0])
    with pytest.raises(InvalidValue):
        decode_element(EiResponse, element)
    signal = etree.Element(clark("ei:eiEventSignal"))
    etree.SubElement(signal, clark("power:powerReal"))
    with pytest.raises(InvalidValue):
        decode_element(EventSignal, signal)

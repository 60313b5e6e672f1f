"""Every rule of sections 3.1 to 3.5 in our own words, and the decisions on what the standard leaves open.

``on`` is V (VEN), T (VTN) or B (both). ``out`` is the reason why a rule does not count, where it does not;
``files`` are the tests of a rule that are not in this folder. A decision's ``setting`` has the names of
settings of the programs in backticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ABSENT", "DECISIONS", "MEASURED", "RULES", "Decision", "Measured", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One rule."""

    number: int
    on: str
    subject: str
    out: str = ""
    files: tuple[str, ...] = ()


A_MODE: Final = "2.0a: the older profile is not served"
XMPP: Final = "XMPP: not served; HTTP push and pull are"
TRUST: Final = "trust: TLS and certificates have tests of their own"
SUITES: Final = (
    "unit/certs/test_certs_tls.py",
    "e2e/test_vtn_tls.py",
    "security/attacks_tls.py",
)
KEYS: Final = (
    "unit/certs/test_certs_pki.py",
    "unit/certs/test_certs_attacks.py",
    "unit/certs/test_certs_proxy.py",
    "security/attacks_tls.py",
)
SIGNATURES: Final = (
    "unit/certs/test_certs_xmldsig.py",
    "unit/certs/test_certs_envelope.py",
    "e2e/test_signed_vtn.py",
    "e2e/test_signed_ven.py",
    "interop/test_openleadr_signatures.py",
    "security/attacks_signature.py",
)
EXPIRY: Final = (
    "unit/certs/test_certs_tls.py",
    "unit/certs/test_certs_proxy.py",
    "e2e/test_ven_tls.py",
    "e2e/test_push_tls.py",
    "security/attacks_tls.py",
)
INFORMATIVE: Final = "informative: there is nothing to observe"

ABSENT: Final = frozenset(
    (11, 24, 26, 28, 34, 39, 44, 49, 54, 55, 310, 320, 323, 326, 332, 503, 504, 505, 513)
)
"""Numbers that the standard does not use (G17)."""

RULES: Final = (
    Row(1, "B", "times are UTC with Z, durations whole; fractions are read and dropped"),
    Row(2, "T", "intervals of a signal are numbered 0, 1, 2"),
    Row(3, "T", "priority 1 is highest, 0 lowest"),
    Row(4, "T", "a new event has modification number 0"),
    Row(5, "T", "the number goes up by one per change of content and for nothing else"),
    Row(6, "V", "a test event is acknowledged and not acted on"),
    Row(7, "T", "one SIMPLE signal towards 2.0a VENs", A_MODE),
    Row(8, "T", "intervals add up to the active period"),
    Row(9, "T", "SIMPLE takes the levels 0 to 3"),
    Row(10, "T", "a cancellation is a status and a new version"),
    Row(12, "V", "always: one answer per event each time; never: none"),
    Row(13, "T", "near exists only with a ramp-up"),
    Row(14, "T", "SIMPLE's current value is 0 unless active"),
    Row(15, "T", "order of the events in a set"),
    Row(16, "T", "both kinds of opt are recorded"),
    Row(17, "T", "an opt-out may come late"),
    Row(18, "B", "starts count, ends do not: adjacent events do not overlap"),
    Row(19, "V", "good events are answered although others are bad"),
    Row(20, "T", "the future of an event may change, its past may not"),
    Row(21, "B", "unexpected venID, vtnID or eventID is an error"),
    Row(22, "V", "targets are alternatives; none means this VEN"),
    Row(23, "B", "only a VEN asks for events"),
    Row(25, "T", "answers to events beside an error are ignored"),
    Row(27, "T", "the reply limit caps the set"),
    Row(29, "T", "the current value is that of the running interval"),
    Row(30, "V", "a start is random within its tolerance and keeps its delay"),
    Row(31, "V", "start, duration and tolerance are acted on"),
    Row(32, "V", "durations and values of intervals are acted on"),
    Row(33, "B", "application errors carry the fitting code"),
    Row(35, "V", "answers to events are there unless everything is wrong"),
    Row(36, "V", "a cancellation is acknowledged once per sending"),
    Row(37, "V", "a VEN on HTTP can pull"),
    Row(38, "T", "a VTN serves push and pull (XMPP: not served)"),
    Row(40, "T", "a set that answers a request carries a response"),
    Row(41, "T", "a set carries a request id"),
    Row(42, "B", "answers to events carry the request id of their set, the response none"),
    Row(43, "V", "request ids may repeat"),
    Row(45, "B", "no schemaLocation"),
    Row(46, "B", "optional elements are honoured, empty ones count as absent"),
    Row(47, "B", "an active period of zero is open-ended"),
    Row(48, "B", "logical errors are 4xx, per event and with opt-out"),
    Row(50, "T", "each set is complete; a cancelled event leaves it once acknowledged"),
    Row(51, "B", "pull: only the VEN asks; push: it never polls"),
    Row(52, "T", "a cancellation is repeated until it is acknowledged"),
    Row(53, "B", "Host, Content-Length and Content-Type on every request and reply"),
    Row(56, "V", "an unknown event is added"),
    Row(57, "V", "a higher number replaces"),
    Row(58, "V", "a lower number is 450 and changes nothing"),
    Row(59, "V", "a cancelled event goes"),
    Row(60, "V", "an unknown cancelled event is ignored and answered"),
    Row(61, "V", "an event that is missing from a set is cancelled"),
    Row(62, "V", "every event of every set is processed"),
    Row(63, "T", "at most one venID in a target"),
    Row(64, "V", "answer before the next poll", A_MODE),
    Row(65, "V", "a randomised event that is cancelled ends at random"),
    Row(66, "B", "an event with a tolerance is listed to its last possible end, and completed stops nothing"),
    Row(67, "B", "TLS 1.2 and its suites", TRUST, SUITES),
    Row(68, "B", "kinds and sizes of keys", TRUST, KEYS),
    Row(69, "T", "signal type of SIMPLE in 2.0a", A_MODE),
    Row(70, "T", "venID unique, eventID unique per VEN"),
    Row(100, "T", "one floating-point value per interval"),
    Row(101, "T", "intervals of a baseline are numbered 0, 1, 2"),
    Row(102, "T", "every interval has a duration, and they add up"),
    Row(103, "T", "no starts in intervals of signals and baselines"),
    Row(104, "T", "type, unit and range that belong to a signal's name"),
    Row(105, "T", "the notification time is there"),
    Row(106, "T", "SIMPLE may go beside other signals"),
    Row(107, "T", "signal ids are unique in an event"),
    Row(108, "B", "meaning of resources in a baseline", INFORMATIVE),
    Row(109, "V", "an unsupported signal is 460 and opt-out"),
    Row(110, "T", "current value of other signals while inactive", INFORMATIVE),
    Row(111, "B", "a signal's target names classes of devices only"),
    Row(112, "V", "a resource that cannot be resolved is 469"),
    Row(113, "T", "current value for 2.0a VENs", A_MODE),
    Row(114, "V", "a VEN may go by its own clock"),
    Row(115, "T", "creation time: one for the set, renewed with every change"),
    Row(116, "B", "SIMPLE has the type level"),
    Row(200, "V", "a schedule has starts and durations alone"),
    Row(201, "B", "what a programme settles", INFORMATIVE),
    Row(202, "V", "a target limits an opt; the VEN alone is all of it"),
    Row(203, "T", "which schedules a new one supersedes"),
    Row(204, "V", "an opt has an id; cancelling it cancels all with that id"),
    Row(205, "T", "a market context limits a schedule"),
    Row(206, "B", "shape and force of an opt for one event"),
    Row(207, "T", "the reply echoes the request id"),
    Row(208, "B", "ids are sent, and checked (452)"),
    Row(209, "B", "a device class names classes of devices only"),
    Row(210, "B", "a duration of zero is open-ended"),
    Row(211, "B", "cancelling a superseded schedule is no error"),
    Row(300, "B", "requests stay within the offer, reports have what was asked for"),
    Row(301, "B", "metadata is announced after registering, even if there is none"),
    Row(302, "B", "meaning of data sources", INFORMATIVE),
    Row(303, "B", "the reply echoes the request id"),
    Row(304, "B", "ids of reports are checked (452)"),
    Row(305, "B", "metadata has descriptions and units, and no data"),
    Row(306, "B", "new metadata replaces the old and ends the requests"),
    Row(307, "B", "a report's subject names classes of devices only"),
    Row(308, "B", "specifiers and rIDs are unique; a metadata request has rID 0"),
    Row(309, "B", "metadata is exchanged before other operations"),
    Row(311, "B", "request id 0 in metadata, and outside only where it was asked for"),
    Row(312, "B", "metadata has a duration, no shorter than the sampling"),
    Row(313, "B", "data has a start, intervals and a plain name, and no descriptions"),
    Row(314, "B", "starts of a report and its intervals agree, oldest first"),
    Row(315, "B", "durations of a report and its intervals agree, all or none"),
    Row(316, "B", "intervals without starts are numbered"),
    Row(317, "B", "granularity bounds the number of intervals; zero is on change"),
    Row(318, "B", "no valid value: a placeholder of bad quality"),
    Row(319, "B", "unit of the accuracy", INFORMATIVE),
    Row(321, "B", "a request has no tolerance, ramp, recovery, notification or unit"),
    Row(322, "B", "report request ids are unique"),
    Row(324, "B", "report-back of zero: once and at once; periodic needs an interval"),
    Row(325, "B", "start and length of what is reported; zero is for ever, or everything"),
    Row(327, "B", "METADATA is the keyword of specifiers and names"),
    Row(328, "B", "a cancellation on the back of a reply names what is being answered"),
    Row(329, "B", "the list of pending reports is complete"),
    Row(330, "B", "rIDs are text"),
    Row(331, "B", "form of the well-known reports"),
    Row(333, "V", "telemetry tells its sampling rate"),
    Row(334, "V", "a load control state keeps its children"),
    Row(335, "B", "a cancellation by a message of its own stops the reports"),
    Row(336, "B", "an unknown id in a cancellation is an error"),
    Row(337, "B", "interval data asked once comes at once, with its duration"),
    Row(338, "B", "a request has the reading type x-notApplicable"),
    Row(339, "B", "the report's own id means nothing"),
    Row(340, "B", "more than is offered is 454"),
    Row(341, "B", "the first interval is within one granularity of the start asked for"),
    Row(342, "B", "point data has no durations, interval data has"),
    Row(343, "B", "no data source means all resources", INFORMATIVE),
    Row(344, "B", "a request on the back of a reply is taken"),
    Row(345, "B", "report-to-follow is exactly one more report"),
    Row(346, "V", "corrections and repetitions are allowed"),
    Row(400, "B", "ids of the registration are checked (452)"),
    Row(401, "B", "who may send what; an unregistered VEN registers when it boots"),
    Row(402, "V", "what a registration says; ids on re-registration only"),
    Row(403, "T", "what the reply to a registration says"),
    Row(404, "T", "what the reply to a query says"),
    Row(405, "B", "registration first, then metadata and events"),
    Row(406, "T", "a new registration wipes what was known"),
    Row(407, "B", "a cancellation wipes what was known"),
    Row(500, "B", "one item per poll, drained at once, then the period"),
    Row(501, "B", "polls are served"),
    Row(502, "T", "a changed set is told"),
    Row(506, "T", "2.0a at the same time", A_MODE),
    Row(507, "B", "what goes over XMPP", XMPP),
    Row(508, "V", "a VEN always says its venID"),
    Row(509, "B", "every message says its schema version"),
    Row(510, "B", "the least that a VTN and a VEN can do"),
    Row(511, "B", "the form of URLs"),
    Row(512, "B", "ids are case-sensitive, market contexts are normalised"),
    Row(514, "B", "XML signatures", TRUST, SIGNATURES),
    Row(515, "B", "addresses and security of XMPP", XMPP),
    Row(516, "B", "no traffic with expired certificates", TRUST, EXPIRY),
    Row(517, "T", "unregistered or unauthorised is 463, a wrong id 452, in the fitting reply"),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One gap or contradiction of the standard and what we do about it."""

    number: int
    issue: str
    default: str
    setting: str


DECISIONS: Final = (
    Decision(
        1,
        "403 after a failed TLS handshake cannot be sent",
        "the handshake is ended; 403 where a proxy ends TLS and no certificate comes",
        "follows from `tls`, `proxy.addresses` and `plain`",
    ),
    Decision(2, "SHA-1 signature methods are listed and forbidden", "only SHA-256 is made or taken", "none"),
    Decision(3, "least size of elliptic keys: 224 or 256 bits", "P-256 or better", "none"),
    Decision(
        4,
        "one example shows a message without its wrapper",
        "sent wrapped always; a bare root is refused (406)",
        "`limits.accept_bare_root`, off",
    ),
    Decision(
        5,
        "a list of what metadata leaves out is cut off",
        "no intervals, start or eiReportID in metadata",
        "none",
    ),
    Decision(
        6,
        "a VTN may ignore a poll while it waits",
        "every poll is answered; the next item is handed over; our VEN survives silence",
        "`limits.resend_after`",
    ),
    Decision(
        7,
        "resend a cancellation until acknowledged, or drop it",
        "resent until acknowledged, given up or over, then dropped",
        "`limits.max_deliveries`; push: `limits.max_push_deliveries`",
    ),
    Decision(
        8, "a change of status: new version or new creation time", "new creation time, same number", "none"
    ),
    Decision(9, "durations of an open-ended event", "one interval of zero", "none"),
    Decision(
        10,
        "every message has a venID, though some cannot",
        "the query and a first registration are exempt; the reply to a query gives no ids",
        "none",
    ),
    Decision(
        11,
        "inner report request id of metadata on request",
        "0 inside, the request's id outside only where asked",
        "none",
    ),
    Decision(12, "status for a wrong HTTP method", "501", "`limits.wrong_method_status`, 501 or 405"),
    Decision(13, "status for a schema-invalid body", "406, empty", "none"),
    Decision(
        14,
        "start and duration together in point data",
        "only in a report that mixes points and intervals",
        "none",
    ),
    Decision(
        15,
        "body of a push VEN's reply to a set of events",
        "ours is empty; an oadrResponse is tolerated",
        "none",
    ),
    Decision(16, "spelling of XMPP discovery nodes", "XMPP is not served", "none"),
    Decision(17, "numbers the standard does not use", "not used here either", "none"),
    Decision(
        18,
        "metadata at the first poll of push VENs; again on re-registration",
        "pull: at the poll, push: by a request; re-registering changes nothing, metadata may come again",
        "none",
    ),
    Decision(
        19,
        "custom signal types",
        "custom names are read (460), custom types are schema-invalid (406)",
        "none",
    ),
    Decision(
        20,
        "changing the running interval",
        "its value may change and holds from receipt; what has elapsed may not (451)",
        "none",
    ),
    Decision(
        21,
        "the keyword METADATA_ and the prefix x-",
        "`x-METADATA_NAME` announces `x-NAME`; both forms are accepted",
        "none",
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run that is too long for a test found."""

    command: str
    about: str
    found: str


MEASURED: Final = (
    Measured(
        "python -m bench.kill9 --points 200",
        "a VTN killed at 200 random points of a day, and started again",
        "7887 effects, 0 lost, 0 doubled; 172 replays refused",
    ),
    Measured(
        "python -m bench.mutants --count 1000000",
        "a million mutated messages; the run fails on a 5xx or on more than 20 MB of growth",
        "0 answers 5xx; RSS 90.3 MB after the warm-up, 92.0 MB at the end",
    ),
)

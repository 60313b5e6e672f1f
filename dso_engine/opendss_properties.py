"""The options of each OpenDSS class in their order, to which values without a name and short names refer.

A value that stands alone is the option after the one before it. A short name is taken when one option begins
so; OpenDSS takes the first of several, which is a guess nobody should make for a feeder.

Source: the property lists of OpenDSS 9 (DSS C-API 0.14.5), in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from dso_engine.opendss_text import Option

__all__ = ["ORDER", "named_options", "set_name"]

_VSOURCE: Final = """
    bus1 basekv pu angle frequency phases mvasc3 mvasc1 x1r1 x0r0 isc3 isc1 r1 x1 r0 x0 scantype
    sequence bus2 z1 z0 z2 puz1 puz0 puz2 basemva yearly daily duty model puzideal spectrum basefreq
    enabled like
"""
ORDER: Final = {
    kind: tuple(names.split())
    for kind, names in {
        "circuit": _VSOURCE,
        "vsource": _VSOURCE,
        "linecode": """
            nphases r1 x1 r0 x0 c1 c0 units rmatrix xmatrix cmatrix basefreq normamps emergamps
            faultrate pctperm repair kron rg xg rho neutral b1 b0 seasons ratings linetype like
        """,
        "line": """
            bus1 bus2 linecode length phases r1 x1 r0 x0 c1 c0 rmatrix xmatrix cmatrix switch rg xg rho
            geometry units spacing wires earthmodel cncables tscables b1 b0 seasons ratings linetype
            normamps emergamps faultrate pctperm repair basefreq enabled like
        """,
        "transformer": """
            phases windings wdg bus conn kv kva tap %r rneut xneut buses conns kvs kvas taps xhl xht xlt
            xscarray thermal n m flrise hsrise %loadloss %noloadloss normhkva emerghkva sub maxtap
            mintap numtaps subname %imag ppm_antifloat %rs bank xfmrcode xrconst x12 x13 x23 leadlag
            wdgcurrents core rdcohms seasons ratings normamps emergamps faultrate pctperm repair
            basefreq enabled like
        """,
        "load": """
            phases bus1 kv kw pf model yearly daily duty growth conn kvar rneut xneut status class
            vminpu vmaxpu vminnorm vminemerg xfkva allocationfactor kva %mean %stddev cvrwatts cvrvars
            kwh kwhdays cfactor cvrcurve numcust zipv %seriesrl relweight vlowpu puxharm xrharm spectrum
            basefreq enabled like
        """,
        "generator": """
            phases bus1 kv kw pf kvar model vminpu vmaxpu yearly daily duty dispmode dispvalue conn
            status class vpu maxkvar minkvar pvfactor forceon kva mva xd xdp xdpp h d usermodel userdata
            shaftmodel shaftdata dutystart debugtrace balanced xrdp usefuel fuelkwh %fuel %reserve
            refuel dynamiceq dynout spectrum basefreq enabled like
        """,
        "reactor": """
            bus1 bus2 phases kvar kv conn rmatrix xmatrix parallel r x rp z1 z2 z0 z rcurve lcurve lmh
            normamps emergamps faultrate pctperm repair basefreq enabled like
        """,
    }.items()
}
"""Option names of each class that is read, in lower case."""
_ALSO: Final = {"x12": "xhl"}
_SETS: Final = (
    *("defaultbasefrequency", "frequency", "loadmult", "genmult", "loadmodel"),
    *("mode", "voltagebases", "tolerance", "maxiterations", "maxcontroliter", "controlmode", "algorithm"),
    *("number", "stepsize", "time", "hour", "sec", "datapath", "editor", "year", "demandinterval", "random"),
    *("casename", "normvminpu", "normvmaxpu", "emergvminpu", "emergvmaxpu", "overloadreport", "diverbose"),
    *("voltexceptionreport", "cktmodel", "nodewidth", "markercode", "daisysize", "zonelock", "miniterations"),
    *("showexport", "allowduplicates", "earthmodel", "pricesignal", "totaltime"),
)


def named_options(kind: str, element: str, options: Iterable[Option]) -> Iterator[Option]:
    """The same options, each by its full name.

    Args:
        kind: The class, one of `ORDER`.
        element: The element as written, for messages.
        options: As written.

    Raises:
        InvalidScript: if a value alone has no place, or a short name could be several options.
    """
    order = ORDER[kind]
    after = 0
    for option in options:
        name = option.name or (order[after] if after < len(order) else "")
        if not name:
            raise option.at.error(
                f"{element}: {option.value} stands alone, after the last option of its class"
            )
        full = _full(name, order, option, element)
        after = order.index(full) + 1 if full in order else after
        yield replace(option, name=_ALSO.get(full, full))


def set_name(option: Option) -> str:
    """The full name of what ``Set`` sets; as written if it is unknown.

    Raises:
        InvalidScript: if a short name could be several.
    """
    return _full(option.name, _SETS, option, "set")


def _full(name: str, order: tuple[str, ...], option: Option, element: str) -> str:
    if name in order:
        return name
    begin = [each for each in order if each.startswith(name)]
    if len(begin) > 1:
        raise option.at.error(f"{element}: {name} could be {', '.join(begin)}; write it out")
    return begin[0] if begin else name

"""JSON, records, time stamps, base64 and HTML: orjson, msgspec, ciso8601, pybase64 and selectolax."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from random import Random

import attrs
import ciso8601
import dateutil.parser
import lxml.html
import msgspec
import orjson
import pybase64
import pytest
from bs4 import BeautifulSoup
from selectolax.lexbor import LexborHTMLParser

# --- JSON -----------------------------------------------------------------------------------------------------------


def _message() -> object:
    """Return a short message, as a service would send."""
    return {"id": 81_234, "user": "ada", "roles": ["admin", "author"], "is_active": True, "balance": 12.5, "note": None}


def _posts() -> object:
    """Return a page of posts: nested objects, much text, some of it not ASCII."""
    random = Random(0)
    words = ["Grüße", "schnell", "fast", "速い", "message", "of", "the", "day", "😀", "loop"]
    return [
        {
            "id": random.getrandbits(60),
            "text": " ".join(random.choices(words, k=25)),
            "user": {"name": random.choice(words), "followers": random.randrange(10_000), "verified": False},
            "tags": random.sample(words, 3),
            "reply_to": None,
        }
        for _ in range(500)
    ]


def _coordinates() -> object:
    """Return the outline of a region: almost nothing but floating-point numbers."""
    random = Random(0)
    return {"type": "Polygon", "coordinates": [[random.uniform(-180, 180), random.random()] for _ in range(5_000)]}


def _catalogue() -> object:
    """Return a catalogue: many small objects of integers."""
    random = Random(0)
    return {str(number): {"seat": random.randrange(500), "area": random.randrange(50)} for number in range(5_000)}


DOCUMENTS = {"message": _message, "posts": _posts, "coordinates": _coordinates, "catalogue": _catalogue}


@pytest.fixture(params=DOCUMENTS)
def document(request):
    """A JSON document: none is named by the claims, so there are several."""
    return DOCUMENTS[request.param]()


@pytest.mark.speedup_claim("orjson.dumps")
def test_dumps(pair, document):
    """Serialize a document to bytes, each library by its defaults."""

    def same_document(before, after):
        assert json.loads(before) == json.loads(after) == document

    pair(
        lambda: json.dumps(document).encode(),
        lambda: orjson.dumps(document),
        names=("json", "orjson"),
        equivalent=same_document,
    )


@pytest.mark.speedup_claim("orjson.loads")
def test_loads(pair, document):
    """Parse the bytes of a document."""
    text = json.dumps(document, ensure_ascii=False).encode()
    pair(
        lambda: json.loads(text),
        lambda: orjson.loads(text),
        names=("json", "orjson"),
        equivalent=lambda before, after: before == after == document,
    )


@pytest.mark.speedup_control
def test_control(pair):
    """The same serialization twice: how far the ratio of equal sides is from 1 here."""
    document = _posts()
    pair(lambda: json.dumps(document).encode(), lambda: json.dumps(document).encode(), names=("json", "json again"))


# --- Records --------------------------------------------------------------------------------------------------------

NUM_RECORDS = 1_000
values_of = attrgetter("a", "b", "c", "d", "e")


def define_dataclass() -> type:
    """Define a record of five integers, with an order, as a dataclass."""

    @dataclass(order=True)
    class Record:
        a: int
        b: int
        c: int
        d: int
        e: int

    return Record


def define_attrs() -> type:
    """Define a record of five integers, with an order, by attrs."""

    @attrs.define(order=True)
    class Record:
        a: int
        b: int
        c: int
        d: int
        e: int

    return Record


def define_struct() -> type:
    """Define a record of five integers, with an order, as a msgspec.Struct."""

    class Record(msgspec.Struct, order=True):
        a: int
        b: int
        c: int
        d: int
        e: int

    return Record


BASELINES = {"dataclasses": define_dataclass, "attrs": define_attrs}


def records(record: type) -> list:
    """Return a thousand records in ascending order."""
    return [record(a=i, b=i, c=i, d=i, e=i) for i in range(NUM_RECORDS)]


def find_last(record: type) -> Callable[[], int]:
    """Return a function that finds the last of a thousand records by comparing each of them with an equal one."""
    found, wanted = records(record), records(record)[-1]
    return lambda: found.index(wanted)


def find_largest(record: type) -> Callable[[], object]:
    """Return a function that finds the largest of a thousand records."""
    found = records(record)
    return lambda: max(found)


@pytest.mark.speedup_claim("msgspec.structs")
@pytest.mark.parametrize("baseline", BASELINES)
def test_define_a_class(pair, baseline):
    """Define a class of records, as importing a module does."""

    def same_class(before, after):
        assert values_of(before(1, 2, 3, 4, 5)) == values_of(after(1, 2, 3, 4, 5)) == (1, 2, 3, 4, 5)
        assert all(one(1, 2, 3, 4, 5) < one(1, 2, 3, 4, 6) for one in (before, after))

    pair(BASELINES[baseline], define_struct, names=(baseline, "msgspec"), equivalent=same_class)


@pytest.mark.speedup_claim("msgspec.structs")
@pytest.mark.parametrize("baseline", BASELINES)
def test_create_records(pair, baseline):
    """Create a thousand records."""
    pair(
        partial(records, BASELINES[baseline]()),
        partial(records, define_struct()),
        names=(baseline, "msgspec"),
        equivalent=lambda before, after: list(map(values_of, before)) == list(map(values_of, after)),
    )


@pytest.mark.speedup_claim("msgspec.structs")
@pytest.mark.parametrize("baseline", BASELINES)
def test_compare_records_for_equality(pair, baseline):
    """Compare a thousand records with one that equals the last."""
    pair(
        find_last(BASELINES[baseline]()),
        find_last(define_struct()),
        names=(baseline, "msgspec"),
        equivalent=lambda before, after: before == after == NUM_RECORDS - 1,
    )


@pytest.mark.speedup_claim("msgspec.structs")
@pytest.mark.parametrize("baseline", BASELINES)
def test_order_records(pair, baseline):
    """Find the largest of a thousand records."""
    pair(
        find_largest(BASELINES[baseline]()),
        find_largest(define_struct()),
        names=(baseline, "msgspec"),
        equivalent=lambda before, after: values_of(before) == values_of(after),
    )


# --- Time stamps ----------------------------------------------------------------------------------------------------


def time_stamps(time_zone: str) -> list[str]:
    """Return a thousand different time stamps in the formats of ciso8601's tables."""
    start = datetime(2014, 1, 9, 21, 48)  # noqa: DTZ001 - the time zone is that of the text
    return [(start + timedelta(seconds=997 * number)).isoformat() + time_zone for number in range(1_000)]


def measure_parsers(pair, before, names, time_zone):
    """Measure a parser of time stamps against ciso8601's."""
    texts = time_stamps(time_zone)
    pair(
        lambda: list(map(before, texts)),
        lambda: list(map(ciso8601.parse_datetime, texts)),
        names=names,
        units=len(texts),
        equivalent=lambda before, after: list(map(str, before)) == list(map(str, after)),
    )


@pytest.mark.speedup_claim("ciso8601.other-libraries")
@pytest.mark.parametrize("time_zone", ["", "-05:30"], ids=["no time zone", "time zone"])
def test_time_stamps_against_dateutil(pair, time_zone):
    """Parse a thousand time stamps, against the ISO 8601 parser of python-dateutil."""
    measure_parsers(pair, dateutil.parser.isoparse, ("dateutil", "ciso8601"), time_zone)


@pytest.mark.parametrize(
    "time_zone",
    [
        pytest.param("", id="no time zone", marks=pytest.mark.speedup_claim("ciso8601.builtin")),
        pytest.param("-05:30", id="time zone", marks=pytest.mark.speedup_claim("ciso8601.builtin-with-time-zone")),
    ],
)
def test_time_stamps_against_the_builtin(pair, time_zone):
    """Parse a thousand time stamps, against datetime.fromisoformat."""
    measure_parsers(pair, datetime.fromisoformat, ("datetime", "ciso8601"), time_zone)


# --- Base64 ---------------------------------------------------------------------------------------------------------

SIZE_OF_THE_TABLE = 135_696
SIZES = {"100 bytes": 100, "135,696 bytes": SIZE_OF_THE_TABLE, "10 MB": 10_000_000}


def sizes_with(claim: str) -> list:
    """Return the sizes as parameters; that of pybase64's table judges the claim about the table too."""
    judges = {SIZE_OF_THE_TABLE: [pytest.mark.speedup_claim(claim)]}
    return [pytest.param(size, id=name, marks=judges.get(size, [])) for name, size in SIZES.items()]


@pytest.mark.speedup_claim("pybase64.fast")
@pytest.mark.parametrize("size", sizes_with("pybase64.encoding"))
def test_encode(pair, size):
    """Encode bytes."""
    data = Random(0).randbytes(size)
    pair(
        lambda: base64.b64encode(data),
        lambda: pybase64.b64encode(data),
        names=("base64", "pybase64"),
        units=size,
        equivalent=lambda before, after: before == after,
    )


@pytest.mark.speedup_claim("pybase64.fast")
@pytest.mark.parametrize("size", sizes_with("pybase64.decoding"))
def test_decode(pair, size):
    """Decode bytes, with validation, as the fastest way is said to be."""
    data = Random(0).randbytes(size)
    text = base64.b64encode(data)
    pair(
        lambda: base64.b64decode(text, validate=True),
        lambda: pybase64.b64decode(text, validate=True),
        names=("base64", "pybase64"),
        units=size,
        equivalent=lambda before, after: before == after == data,
    )


# --- HTML -----------------------------------------------------------------------------------------------------------


def page(num_articles: int) -> str:
    """Return a page with a number of articles, each with a heading, three links, a paragraph and an image."""
    random = Random(0)
    words = ["news", "market", "weather", "science", "sports", "opinion", "culture", "travel"]
    articles = "".join(
        f'<article class="card" data-id="{number}"><h2><a href="/{random.choice(words)}/{number}">'
        f"{' '.join(random.choices(words, k=8))}</a></h2><p>{' '.join(random.choices(words, k=60))}</p>"
        f'<img src="/images/{number}.jpg" alt="{random.choice(words)}"><ul><li><a href="/a/{number}">comments</a></li>'
        f'<li><a href="/s/{number}">share</a></li></ul></article>\n'
        for number in range(num_articles)
    )
    scripts = "".join(f'<script src="/static/{number}.js"></script>' for number in range(10))
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>The front page</title>'
        f'<meta name="description" content="All of it">{scripts}</head><body><main>{articles}</main></body></html>'
    )


Extract = tuple[str, list[str], list[str], str]
"""The title, links, scripts and a meta tag of a page."""


def extract_by_beautiful_soup(html: str, parser: str) -> Extract:
    """Extract them by Beautiful Soup."""
    soup = BeautifulSoup(html, parser)
    links = [link["href"] for link in soup.find_all("a", href=True)]
    scripts = [script["src"] for script in soup.find_all("script", src=True)]
    return soup.title.string, links, scripts, soup.find("meta", {"name": "description"})["content"]


def extract_by_lxml(html: str) -> Extract:
    """Extract them by lxml without Beautiful Soup."""
    tree = lxml.html.document_fromstring(html)
    (description,) = tree.xpath('//meta[@name="description"]/@content')
    return tree.findtext(".//title"), tree.xpath("//a/@href"), tree.xpath("//script/@src"), description


def extract_by_selectolax(html: str) -> Extract:
    """Extract them by selectolax."""
    tree = LexborHTMLParser(html)
    links = [link.attributes["href"] for link in tree.css("a[href]")]
    scripts = [script.attributes["src"] for script in tree.css("script[src]")]
    description = tree.css_first('meta[name="description"]').attributes["content"]
    return tree.css_first("title").text(), links, scripts, description


PARSERS = {
    "html.parser": partial(extract_by_beautiful_soup, parser="html.parser"),
    "lxml": partial(extract_by_beautiful_soup, parser="lxml"),
    "lxml alone": extract_by_lxml,
}


@pytest.mark.speedup_claim("selectolax.fast")
@pytest.mark.parametrize("num_articles", [20, 500])
@pytest.mark.parametrize(
    "parser",
    [
        pytest.param("html.parser", marks=pytest.mark.speedup_claim("selectolax.html-parser")),
        pytest.param("lxml", marks=pytest.mark.speedup_claim("selectolax.lxml")),
        "lxml alone",
    ],
)
def test_extract(pair, parser, num_articles):
    """Extract title, links, scripts and a meta tag from a page of 20 or 500 articles."""
    html, extract = page(num_articles), PARSERS[parser]
    pair(
        lambda: extract(html),
        lambda: extract_by_selectolax(html),
        names=(parser if extract is extract_by_lxml else f"Beautiful Soup ({parser})", "selectolax"),
        equivalent=lambda before, after: before == after and len(before[1]) == 3 * num_articles,
    )

"""The HTML page: one self-contained file that shows everything, and no text of a record becomes markup."""

import re
from html.parser import HTMLParser

from speedclaims.report.html.page import render_html
from speedclaims.report.model.formatting import EQUIVALENCES, VERDICTS, clean
from tests.speedclaims.report.conftest import HOSTILE
from tests.speedclaims.report.sample import Row, gpu_record, sample_record, without_claims, without_claims_asked

VOID = {"meta", "link", "br", "img", "hr", "input"}
LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "background", "cite", "manifest", "ping"}
FORBIDDEN = {"script", "iframe", "object", "embed", "form", "base", "audio", "video", "img", "image"}


class Page(HTMLParser):
    """Collects what a page is made of and where its tags do not match."""

    def __init__(self, html: str) -> None:
        """Parse a whole page."""
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.problems: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(html)
        self.close()
        self.problems += [f"never closed: {tag}" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself, as in SVG."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag, or note that it is another."""
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"closed out of order: {tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Keep text."""
        (self.styles if self.open and self.open[-1] == "style" else self.words).append(data)

    @property
    def text(self) -> str:
        """Return all text with single spaces."""
        return clean(" ".join(self.words))


def test_tags_are_balanced(any_record: Row) -> None:
    assert Page(render_html([any_record])).problems == []


def test_tags_are_balanced_when_texts_are_hostile(hostile: Row) -> None:
    assert Page(render_html([hostile])).problems == []


def test_nothing_is_loaded_from_anywhere(any_record: Row) -> None:
    page = Page(render_html([any_record]))
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    for tag, attributes in page.tags:
        assert not LOADING & set(attributes), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), (tag, attributes)
        assert "url(" not in (attributes.get("style") or "")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|url\(|https?:", "".join(page.styles))


def test_no_address_stands_in_the_page_unless_a_record_names_one(record: Row) -> None:
    assert not re.search(r"https?://", render_html([record]))


def test_the_content_security_policy_forbids_everything_but_the_pages_own_style(record: Row) -> None:
    page = Page(render_html([record]))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy


def test_hostile_text_stays_text(hostile: Row) -> None:
    html = render_html([hostile])
    page = Page(html)
    assert "<script" not in html
    assert "\x1b" not in html
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    assert clean(HOSTILE) in page.text


def test_every_claim_is_shown_with_its_source_and_verdict(any_record: Row) -> None:
    text = Page(render_html([any_record])).text
    for claim in any_record["speedclaims"]["claims"]:
        assert claim["text"] in text
        assert claim["id"] in text
        assert claim["source"] in text
        assert VERDICTS[claim["verdict"]].word in text


def test_claims_whose_tests_were_not_in_the_run_are_folded_away(record: Row) -> None:
    asked, unasked = record["speedclaims"]["claims"], without_claims_asked()["speedclaims"]["claims"]
    assert "<details class=" not in render_html([record])
    record["speedclaims"]["claims"] = [*unasked, *asked]
    before, _, folded = render_html([record]).partition('<details class="aside">')
    folded = folded.partition("</details>")[0]
    assert "<summary>3 claims whose tests did not run</summary>" in folded
    assert all(claim["id"] in folded and claim["id"] not in before for claim in unasked)
    assert all(claim["id"] in before and claim["id"] not in folded for claim in asked if claim["kind"] == "measured")


def test_a_run_that_asked_no_claim_is_headed_by_its_pairs() -> None:
    page, plain = (Page(render_html([each()])) for each in (without_claims_asked, without_claims))
    heading = plain.text.partition("on this machine")[0]
    assert "pairs measured" in heading
    assert page.text.startswith(heading)


def test_every_pair_is_shown_with_its_labels_and_equivalence(any_record: Row) -> None:
    text = Page(render_html([any_record])).text
    for pair in any_record["speedclaims"]["pairs"]:
        assert pair["name"] in text
        assert pair["title"] in text
        assert f"{pair['before']} → {pair['after']}" in text
        assert EQUIVALENCES[pair["equivalence"]] in text
        assert all(detail in text for detail in pair["equivalence_details"])


def test_what_was_not_measured_says_why(any_record: Row) -> None:
    text = Page(render_html([any_record])).text
    run = any_record["speedclaims"]
    for pair in run["pairs"]:
        assert (pair["reason"] or "") in text
    for claim in run["claims"]:
        if claim["verdict"] == "not_measured":
            assert f"not measured: {claim['reason']}" in text
    assert (run["noise_floor"]["reason"] or "") in text


def test_an_unmet_requirement_stands_with_the_local_figure_beside_it(record: Row) -> None:
    assert "not measured: needs cuda (here on cpu: 0.95x [0.93, 0.97])" in Page(render_html([record])).text


def test_nothing_measured_is_never_shown_as_zero(record: Row) -> None:
    record["speedclaims"]["pairs"] = [p for p in record["speedclaims"]["pairs"] if p["speedup"] is None]
    record["speedclaims"]["claims"] = [c for c in record["speedclaims"]["claims"] if c["verdict"] == "not_measured"]
    record["speedclaims"]["figures"] = [f for f in record["speedclaims"]["figures"] if f["value"] is None]
    html = render_html([record])
    body = re.sub(r"<svg.*?</svg>", "", html[: html.index('id="environment"')], flags=re.DOTALL)
    cells = [clean(re.sub(r"<[^>]+>", " ", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", body, re.DOTALL)]
    assert cells
    assert not [cell for cell in cells if re.match(r"0(\.0*)?\b", cell)]


def test_a_figure_nobody_measured_is_one_line_and_no_table(record: Row) -> None:
    page = Page(render_html([record])).text
    assert "Host-device synchronizations: no GPU on this machine" in page
    assert "How often one call makes the processor wait" not in page


def test_figures_measured_on_a_gpu_have_tables(record: Row) -> None:
    text = Page(render_html([gpu_record(), record])).text
    assert "GPU: energy" in text
    assert "412 J" in text
    assert "7.68 GiB" in text


def test_the_page_is_about_the_newest_record_and_lists_the_others(record: Row) -> None:
    for records in ([gpu_record(), record], [record, gpu_record()]):
        html = render_html(records)
        assert "NVIDIA H200" in html[: html.index("<main>")]
        assert "2026-11-21 09:30" in html[html.index('id="runs"') :]


def test_the_same_record_gives_the_same_page() -> None:
    assert render_html([sample_record()]) == render_html([sample_record()])


def test_ids_are_unique_and_every_link_has_a_target(any_record: Row) -> None:
    page = Page(render_html([any_record]))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [href[1:] for _, attributes in page.tags if (href := attributes.get("href") or "").startswith("#")]
    assert set(targets) <= set(ids)


def test_every_table_has_a_caption_and_every_header_cell_a_scope(any_record: Row) -> None:
    page = Page(render_html([any_record]))
    assert all(attributes.get("scope") in {"col", "row"} for tag, attributes in page.tags if tag == "th")
    count = [tag for tag, _ in page.tags]
    assert count.count("table") == count.count("caption")


def test_every_drawing_has_a_name(any_record: Row) -> None:
    drawings = [attributes for tag, attributes in Page(render_html([any_record])).tags if tag == "svg"]
    assert all(a.get("role") == "img" and (a.get("aria-label") or a.get("aria-labelledby")) for a in drawings)


def test_a_verdict_is_told_by_word_and_shape_and_not_by_colour_alone() -> None:
    symbols = [verdict.symbol for verdict in VERDICTS.values()]
    assert all(verdict.word and verdict.symbol and verdict.ascii_symbol.isascii() for verdict in VERDICTS.values())
    # the two that hold share a check mark, and differ in their word
    assert len(set(symbols)) == len(symbols) - 1


def test_arithmetic_has_a_section_and_a_headline_of_its_own(record: Row) -> None:
    html = render_html([record])
    page = Page(html)
    assert "3 of 5 claims judged on this machine hold" in page.text
    assert "The documents' own arithmetic: 1 of 2 sentences contradicts its own figures." in page.text
    claims = html[html.index('id="claims"') : html.index('id="pairs"')]
    assert "tabular-regressor.compatible" not in claims
    assert "tabular-regressor.compatible" in html[html.index('id="audit"') :]


def test_an_arithmetic_claim_that_nobody_recomputed_stays_among_the_claims(record: Row) -> None:
    record["speedclaims"]["audit"] = []
    html = render_html([record])
    assert "tabular-regressor.compatible" in html[html.index('id="claims"') : html.index('id="pairs"')]


def test_a_figure_that_is_no_time_shows_its_value_and_interval_or_its_reason() -> None:
    """A value stands with its interval and how it was had, a missing one with its reason."""
    page = Page(render_html([sample_record()]))
    assert "0.003% per epoch [-0.001, 0.007]" in page.text
    assert "60 epochs, median 412.3 MiB" in page.text
    assert "not measured: the data set is not installed" in page.text

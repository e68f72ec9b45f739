"""The HTML page: one self-contained file that shows everything, and no text of a record becomes markup."""

import base64
import hashlib
import re
from html import escape, unescape
from html.parser import HTMLParser

from speedclaims.report.html.page import render_html, render_markdown
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


def without_own_script(html: str) -> str:
    """Return a page without its only script, which must be the one that its policy allows."""
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = unescape(html.partition('Content-Security-Policy" content="')[2].partition('"')[0])
    assert re.findall(r"script-src ([^;]*)", policy) == [f"'sha256-{digest}'"]
    return html.replace(f"<script>{script}</script>", "")


def test_tags_are_balanced(any_record: Row) -> None:
    assert Page(render_html([any_record])).problems == []


def test_tags_are_balanced_when_texts_are_hostile(hostile: Row) -> None:
    assert Page(render_html([hostile])).problems == []


def test_nothing_is_loaded_from_anywhere(any_record: Row) -> None:
    page = Page(without_own_script(render_html([any_record])))
    assert {tag for tag, _ in page.tags} & FORBIDDEN == set()
    for tag, attributes in page.tags:
        assert not LOADING & set(attributes), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), (tag, attributes)
        assert "url(" not in (attributes.get("style") or "")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|url\(|https?:", "".join(page.styles))


def test_no_address_stands_in_the_page_unless_a_record_names_one(record: Row) -> None:
    assert not re.search(r"https?://", render_html([record]))


def test_the_content_security_policy_forbids_everything_but_the_pages_own_style_and_script(record: Row) -> None:
    page = Page(render_html([record]))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy.partition("script-src ")[2].partition(";")[0])
    assert policy.count("unsafe") == policy.count("style-src 'unsafe-inline'") == 1


def test_hostile_text_stays_text(hostile: Row) -> None:
    html = without_own_script(render_html([hostile]))
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
    assert "whose tests did not run" not in render_html([record])
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
    assert all(attributes.get("scope") in {"col", "row", "rowgroup"} for tag, attributes in page.tags if tag == "th")
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


DOCUMENTS = ("https://example.org/paper?a=1&b=2, page 3", "javascript:alert(1)", "b.md and http://example.org/b.")


def of_documents() -> Row:
    """Return a record whose claims are of three documents in turn."""
    record = sample_record()
    for number, row in enumerate(record["speedclaims"]["claims"]):
        row["source"] = DOCUMENTS[number % 3]
    return record


def sections(html: str) -> list[str]:
    """Return the groups of rows of the first table of claims."""
    start = html.index('<section aria-labelledby="claims">')
    table = html[html.index("<table", start) : html.index("</table>", start)]
    return re.findall(r"<tbody.*?</tbody>", table, re.DOTALL)


def test_claims_are_grouped_by_document_in_the_ledgers_order_with_the_counts_of_their_verdicts() -> None:
    record = of_documents()
    audited = {row["id"] for row in record["speedclaims"]["audit"]}
    found = sections(render_html([record]))
    assert len(found) == len(DOCUMENTS)
    for document, body in zip(DOCUMENTS, found, strict=True):
        heading, *rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
        claims = [
            row for row in record["speedclaims"]["claims"] if row["source"] == document and row["id"] not in audited
        ]
        words = [VERDICTS[row["verdict"]].word for row in claims]
        told = ", ".join(f"{words.count(one.word)} {one.word}" for one in VERDICTS.values() if one.word in words)
        assert re.sub("<[^>]*>", "", heading) == f"{escape(document)}: {told}"
        assert len(rows) == len(claims)
        assert all(any(claim["id"] in row for row in rows) for claim in claims)


def test_only_web_addresses_of_sources_are_links() -> None:
    html = without_own_script(render_html([of_documents()]))
    links = [a for tag, a in Page(html).tags if tag == "a" and not (a.get("href") or "").startswith("#")]
    assert {a["href"] for a in links} == {"https://example.org/paper?a=1&b=2", "http://example.org/b"}
    assert {a["rel"] for a in links} == {"noopener noreferrer"}


def test_a_claim_and_a_pair_can_be_linked_to_by_their_ids(record: Row) -> None:
    page = Page(render_html([record]))
    ids = {attributes.get("id") for _, attributes in page.tags}
    shown = [row for row in record["speedclaims"]["claims"] if row["kind"] == "measured"]
    assert {f"claim-{row['id']}" for row in shown} <= ids
    assert {f"audit-{row['id']}" for row in record["speedclaims"]["audit"]} <= ids
    assert {f"pair-{row['nodeid']}" for row in record["speedclaims"]["pairs"]} <= ids
    signs = {a["href"] for tag, a in page.tags if tag == "a" and a.get("class") == "here"}
    assert {f"#claim-{row['id']}" for row in shown} <= signs


def test_ids_stay_unique_and_without_spaces_when_names_repeat_or_are_hostile(hostile: Row) -> None:
    run = hostile["speedclaims"]
    run["claims"] += [dict(row) for row in run["claims"]]
    run["pairs"] += [dict(row) for row in run["pairs"]]
    ids = [attributes["id"] for _, attributes in Page(render_html([hostile])).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not [one for one in ids if not one or re.search(r"[\s<>\"]", one)]


def test_a_device_that_every_claim_has_is_in_the_line_about_the_machine_alone(record: Row) -> None:
    assert 'data-label="Device"' not in render_html([record])
    assert "CPU only" in render_html([record])
    record["speedclaims"]["claims"][0]["device"] = "cuda:0"
    assert 'data-label="Device"' in render_html([record])


def test_a_sentence_names_eight_tests_and_counts_the_others_which_are_folded_away(record: Row) -> None:
    pairs = record["speedclaims"]["pairs"]
    measured = next(pair for pair in pairs if pair["memory"]["before"]["value"] is not None)
    absent = next(pair for pair in pairs if pair["memory"]["before"]["value"] is None)
    record["speedclaims"]["pairs"] = [measured, *(absent | {"name": f"test_{number}"} for number in range(12))]
    html = render_html([record])
    assert "test_6, test_7 and 4 more: pass not asked for." in html
    assert re.search(r"<summary>the 4 more</summary>test_8, test_9, test_10, test_11</details>", html)
    assert "test_6, test_7 and 4 more: pass not asked for." in render_markdown([record]).replace("\\", "")


def test_the_chart_tells_pairs_of_one_title_apart_by_their_case() -> None:
    record = sample_record()
    pairs = [pair for pair in record["speedclaims"]["pairs"] if "alternative" not in pair]
    for number, pair in enumerate(pairs[:2]):
        pair.update({"title": "An epoch.", "name": f"test_epoch[family-{number}]", "before": "old", "after": "new"})
    forest = render_html([record]).partition('class="forest')[2].partition("</svg>")[0]
    assert "old → new · family-0" in forest
    assert "old → new · family-1" in forest

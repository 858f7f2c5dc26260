"""Documents that come with a report: recorded by hash and size, read only where they are the only text."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange import ReportDocument, SignedReport
from connectors.hl7.attachments import MIB, DocumentLimits
from connectors.hl7.cda import DEPTH, cda_text
from connectors.hl7.message import NotHl7, build, parse
from connectors.hl7.observations import Contents, contents
from connectors.hl7.results import signed_reports

HEAD = "MSH|^~\\&|RIS|HOSP|||20260101120000||ORU^R01|42|P|2.5.1"
PDF = b"%PDF-1.7 not a real one"
HTML = b"<html><head><title>no</title></head><body><p>Lungs &amp; heart</p><p>clear</p></body></html>"


def cda(body: str, head: str = '<?xml version="1.0"?>') -> str:
    return (
        f'{head}<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Name of the document</title>'
        f"<component>{body}</component></ClinicalDocument>"
    )


SECTIONS = cda(
    "<structuredBody><component><section><code code='1'/><title>Findings</title><text><paragraph>Lungs "
    "<content styleCode='Bold'>clear</content>.</paragraph><list><item>one</item><item>two</item></list>"
    "<table><tbody><tr><th>size</th><td>12 mm</td></tr></tbody></table>a<br/>b</text></section></component>"
    "<component><section><title>Impression</title><text>Normal &amp; stable</text></section></component>"
    "</structuredBody>"
)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def ed(kind: str, subtype: str, encoding: str, data: str) -> str:
    return f"OBX|1|ED|18748-4^Report^LN||^{kind}^{subtype}^{encoding}^{data}||||||F"


def read(*lines: str) -> SignedReport:
    obr = "OBR|1||F1|||||||||||||||ACC1|||||||F"
    raw = "\r".join([HEAD, "PID|1||4711", obr, *lines])
    (report,) = signed_reports(parse(raw.encode()), zone=UTC)
    return report


def read_with(limits: DocumentLimits, *lines: str) -> Contents:
    message = parse("\r".join([HEAD, *lines]).encode())
    return contents(message.all("OBX"), message, limits)


def recorded(content: bytes, media_type: str) -> tuple[ReportDocument, ...]:
    return (ReportDocument(media_type, hashlib.sha256(content).hexdigest(), len(content)),)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("Application", "PDF"),
        ("AP", "PDF"),
        ("", "pdf"),
        ("application", "application/pdf"),
        ("AP", "Octet-stream"),
    ],
)
def test_a_pdf_is_recorded_and_not_read(kind: str, subtype: str) -> None:
    """A PDF, however the sender calls it, leaves its hash and size, and no text."""
    report = read(ed(kind, subtype, "Base64", b64(PDF)))
    assert report.documents == recorded(PDF, "application/pdf")
    assert report.text == ""


def test_a_pdf_without_its_components_is_recorded() -> None:
    """Some senders write the bare base64 of a PDF into an ED."""
    assert read(f"OBX|1|ED|||{b64(PDF)}||||||F").documents == recorded(PDF, "application/pdf")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("Base64", b64(PDF)),
        ("BASE64", b64(PDF).rstrip("=")),
        ("Base64", "\\.br\\".join([b64(PDF)[:8], b64(PDF)[8:]])),
        ("Base64", "\n".join([b64(PDF)[:7], b64(PDF)[7:]])),
        ("Hex", PDF.hex().upper()),
        ("A", PDF.decode()),
    ],
)
def test_every_encoding_of_table_0299_gives_the_same_document(encoding: str, data: str) -> None:
    """Base64 with or without padding and line breaks, hexadecimal and plain text are the same bytes."""
    assert read(ed("AP", "PDF", encoding, data)).documents == recorded(PDF, "application/pdf")


@given(st.binary(max_size=60), st.integers(1, 8), st.sampled_from(["Base64", "Hex"]))
def test_any_bytes_come_through_whatever_the_width_of_a_line(
    content: bytes, width: int, encoding: str
) -> None:
    """White space anywhere in the data changes nothing."""
    data = b64(content) if encoding == "Base64" else content.hex()
    broken = " ".join(data[at : at + width] for at in range(0, len(data), width))
    found = read(ed("AP", "x-raw", encoding, broken)).documents
    assert [(one.sha256, one.size_bytes) for one in found] == (
        [(hashlib.sha256(content).hexdigest(), len(content))] if content else []
    )


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("Base64", "A"),
        ("Base64", "AA?="),
        ("Base64", "QQ==QQ=="),
        ("Hex", "abc"),
        ("Hex", "xy"),
        ("Zip", "AAAA"),
    ],
)
def test_a_document_that_cannot_be_decoded_is_refused(encoding: str, data: str) -> None:
    """What is not in the stated encoding names OBX-5 and quotes nothing."""
    with pytest.raises(NotHl7) as caught:
        read(ed("AP", "PDF", encoding, data))
    assert caught.value.location == "OBX-5"
    assert caught.value.__cause__ is None


def test_an_ed_of_one_component_that_is_no_pdf_is_refused() -> None:
    """A value that is no ED is not passed over in silence."""
    with pytest.raises(NotHl7, match="one component"):
        read("OBX|1|ED|||words||||||F")


def test_an_empty_document_is_none() -> None:
    """ED without data brings nothing."""
    assert read(ed("application", "pdf", "Base64", ""), "OBX|2|ED|||||||||F").documents == ()


def test_a_document_that_was_taken_back_is_none() -> None:
    """OBX-11 D and W hold for documents too."""
    line = ed("AP", "PDF", "Base64", b64(PDF))
    assert read(line[:-1] + "W", line[:-1] + "D").documents == ()


def test_a_pointer_is_recorded_and_not_followed() -> None:
    """RP leaves its media type; its address, which may name the patient, is not kept."""
    report = read("OBX|1|RP|||https://pacs.example/4711^PACS^Application^PDF||||||F")
    assert report.documents == (ReportDocument("application/pdf", "", 0),)
    assert "pacs" not in repr(report)


@pytest.mark.parametrize(
    ("kind", "subtype", "content", "media_type", "text"),
    [
        ("TEXT", "HTML", HTML, "text/html", "Lungs & heart\nclear"),
        ("TEXT", "PLAIN", "Größe 12 mm\r\nclear".encode(), "text/plain", "Größe 12 mm\nclear"),
        ("TEXT", "PLAIN", "Größe".encode("cp1252"), "text/plain", "Größe"),
        ("TEXT", "", b"clear", "text/plain", "clear"),
        ("multipart", "x-hl7-cda-level-one", SECTIONS.encode(), "text/xml", None),
        ("TEXT", "XML", SECTIONS.encode(), "text/xml", None),
        ("AP", "Octet-stream", SECTIONS.encode(), "text/xml", None),
        ("TEXT", "XML", b"<?xml version='1.0'?><other><text>x</text></other>", "text/xml", ""),
        ("TEXT", "PLAIN", b"{\\rtf1 words}", "application/rtf", ""),
        ("AP", "RTF", b"{\\rtf1 words}", "application/rtf", ""),
        ("IM", "JPEG", b"\xff\xd8", "image/jpeg", ""),
    ],
)
def test_words_are_read_from_the_types_that_have_some(
    kind: str, subtype: str, content: bytes, media_type: str, text: str | None
) -> None:
    """CDA, HTML and plain text are read; RTF, pictures and unknown XML are recorded only."""
    report = read(ed(kind, subtype, "Base64", b64(content)))
    assert report.documents == recorded(content, media_type)
    whole = "Findings\nLungs clear.\none\ntwo\nsize 12 mm\na\nb\nImpression\nNormal & stable"
    assert report.text == (whole if text is None else text)


def test_text_of_observations_goes_before_text_of_documents() -> None:
    """A CDA beside TX lines is recorded, and its words are not read a second time."""
    report = read(ed("TEXT", "XML", "Base64", b64(SECTIONS.encode())), "OBX|2|TX|||From lines.||||||F")
    assert report.text == "From lines."
    assert len(report.documents) == 1


def test_a_cda_written_as_text_is_read_in_the_messages_character_set() -> None:
    """An XML declaration that names another character set than the message does not garble ED-4 A."""
    xml = cda("<nonXMLBody><text>Größe</text></nonXMLBody>", '<?xml version="1.0" encoding="ISO-8859-1"?>')
    escaped = xml.replace("&", "\\T\\")
    assert read(ed("TEXT", "XML", "A", escaped)).text == "Größe"


def test_only_plain_words_of_an_unstructured_body_are_read() -> None:
    """nonXMLBody in base64, or of another media type, is no text."""
    assert cda_text(cda("<nonXMLBody><text mediaType='text/plain'>ok</text></nonXMLBody>").encode()) == "ok"
    for attributes in ("representation='B64'", "mediaType='application/pdf'"):
        body = f"<nonXMLBody><text {attributes}>AAAA</text></nonXMLBody>"
        assert cda_text(cda(body).encode()) == ""


@pytest.mark.parametrize(
    "xml",
    [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>',
        '<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1/">]><a>&x;</a>',
        '<?xml version="1.0"?><ClinicalDocument>&x;</ClinicalDocument>',
        '<?xml version="1.0"?><ClinicalDocument>',
        '<?xml version="1.0" encoding="no-such"?><ClinicalDocument/>',
        "<?xml",
    ],
)
def test_hostile_or_broken_xml_is_refused(xml: str) -> None:
    """Document types, entities and what is not well-formed are refused and not quoted."""
    with pytest.raises(NotHl7, match="CDA") as caught:
        read(ed("TEXT", "XML", "Base64", b64(xml.encode())))
    assert caught.value.location == "OBX-5"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("depth", "read_"), [(DEPTH, True), (DEPTH + 1, False)])
def test_elements_may_stand_this_deep_and_no_deeper(depth: int, read_: bool) -> None:
    """The limit of nesting is met just under and just over."""
    around = len(["ClinicalDocument", "component", "nonXMLBody", "text"])
    inner = depth - around
    body = f"<nonXMLBody><text>{'<content>' * inner}deep{'</content>' * inner}</text></nonXMLBody>"
    if read_:
        assert cda_text(cda(body).encode()) == "deep"
    else:
        with pytest.raises(NotHl7, match=f"{DEPTH} deep"):
            cda_text(cda(body).encode())


@pytest.mark.parametrize("encoding", ["Base64", "Hex", "A"])
@pytest.mark.parametrize(("size", "taken"), [(100, True), (101, False)])
def test_a_document_of_the_limit_passes_and_one_byte_more_does_not(
    encoding: str, size: int, taken: bool
) -> None:
    """The limit counts decoded bytes."""
    content = PDF.ljust(size, b"x")
    data = {"Base64": b64(content), "Hex": content.hex(), "A": content.decode()}[encoding]
    if taken:
        assert read_with(DocumentLimits(100, 10), ed("AP", "PDF", encoding, data)).documents
    else:
        with pytest.raises(NotHl7, match="at most 100 bytes") as caught:
            read_with(DocumentLimits(100, 10), ed("AP", "PDF", encoding, data))
        assert caught.value.code == 104


@pytest.mark.parametrize(("size", "taken"), [(10, True), (11, False)])
def test_a_text_document_has_a_limit_of_its_own(size: int, taken: bool) -> None:
    """A long text is refused where it would be read, and only recorded where other text came."""
    line, limits = ed("TEXT", "PLAIN", "Base64", b64(b"x" * size)), DocumentLimits(100, 10)
    if taken:
        assert read_with(limits, line).text == "x" * size
    else:
        with pytest.raises(NotHl7, match="at most 10 bytes"):
            read_with(limits, line)
    assert len(read_with(limits, line, "OBX|2|TX|||words||||||F").documents) == 1


def test_a_large_pdf_is_never_held_decoded() -> None:
    """Hashing a PDF of ten MiB takes a few slices of memory, not a decoded copy of it."""
    content = PDF + bytes(10 * MIB)
    message = parse(
        build(
            [("MSH", {9: ("ORU", "R01")}), ("OBX", {2: "ED", 5: ("", "AP", "PDF", "Base64", b64(content))})]
        )
    )
    observations = message.all("OBX")
    encoded = len(observations[0].field(5).raw)
    tracemalloc.start()
    try:
        found = contents(observations, message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.documents == recorded(content, "application/pdf")
    assert peak < encoded + 8 * MIB, "ED-5 is cut out once; beyond that only slices may be held"


@pytest.mark.parametrize(
    ("concept", "title"),
    [
        ("59776-5^Procedure findings^LN", "Findings"),
        ("18782-3^Study observation^LN", "Findings"),
        ("19005-8^Impression^LN", "Impression"),
        ("71020&GDT^Chest^L", "Findings"),
        ("71020&imp^Chest^L", "Impression"),
        ("&IMP", "Impression"),
    ],
)
def test_a_section_gets_its_heading_where_the_text_has_none(concept: str, title: str) -> None:
    """A line under a concept of a section is preceded by the section's title, once."""
    lines = [f"OBX|1|TX|{concept}||one||||||F", f"OBX|2|TX|{concept}||two||||||F"]
    assert read(*lines).text == f"{title}:\none\ntwo"


@pytest.mark.parametrize(
    "first", ["FINDINGS:", "Findings", "Finding: clear", "Befund:", "findings are normal"]
)
def test_a_heading_that_is_there_is_not_written_again(first: str) -> None:
    """The title in any case, or any line that is a heading, is enough."""
    assert read(f"OBX|1|TX|59776-5^^LN||{first}||||||F").text == first


def test_each_change_of_concept_begins_a_section() -> None:
    """Findings, impression and findings again are three headings; other concepts have none."""
    codes = [("59776-5", "a"), ("59776-5", ""), ("19005-8", "b"), ("18748-4", "c"), ("18782-3", "d")]
    lines = [f"OBX|1|TX|{code}^^LN||{text}||||||F" for code, text in codes]
    assert read(*lines).text == "Findings:\na\n\nImpression:\nb\nc\nFindings:\nd"

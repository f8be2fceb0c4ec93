"""Mail as programs write it: texts around pictures, forwarded messages, addresses that are none."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets_tests.support.formats import read_as


def only(folder: Path, message: EmailMessage | bytes) -> Document:
    (document,), rejections = read_as(folder, "a.eml", message if isinstance(message, bytes) else message.as_bytes())
    assert not rejections
    return document


def mail(text: str, subject: str = "") -> EmailMessage:
    message = EmailMessage()
    if subject:
        message["Subject"] = subject
    message.set_content(text)
    return message


def part(text: str, subtype: str = "plain") -> EmailMessage:
    message = EmailMessage()
    message.set_content(text, subtype=subtype)
    return message


def test_what_stands_behind_a_picture_is_read(tmp_path: Path) -> None:
    message = mail("Before it.", "Photo")
    message.add_attachment(b"png", "image", "png", filename="a.png", disposition="inline")
    message.attach(part("Behind it."))
    document = only(tmp_path, message)
    assert document.text.split() == ["Before", "it.", "Behind", "it."]
    assert document.metadata.model_dump()["attachments"] == ["a.png"]


def test_of_alternatives_one_is_read_and_all_of_it(tmp_path: Path) -> None:
    message = EmailMessage()
    message.make_alternative()
    message.attach(part("-"))
    mixed = EmailMessage()
    mixed.make_mixed()
    for text in ("one", "two"):
        mixed.attach(part(f"<p>{text}</p>", "html"))
    message.attach(mixed)
    assert only(tmp_path, message).text.split() == ["one", "two"]


def test_a_forwarded_message_is_read_with_who_wrote_it(tmp_path: Path) -> None:
    inner = mail("We refund within ten days.", "Refunds")
    inner["From"] = "ada@example.org"
    message = mail("See below.", "Fwd")
    message.add_attachment(inner, disposition="inline")
    assert only(tmp_path, message).text.split("\n") == [
        *("See below.", "", "", "From: ada@example.org", "Subject: Refunds", ""),
        *("We refund within ten days.", ""),
    ]


def test_an_attached_message_is_named_and_not_read(tmp_path: Path) -> None:
    message = mail("See attached.", "Fwd")
    message.add_attachment(mail("Secret.", "Refunds"))
    message.add_attachment("notes", filename="notes.txt")
    document = only(tmp_path, message)
    assert document.text == "See attached.\n"
    assert document.metadata.model_dump()["attachments"] == ["Refunds", "notes.txt"]


@pytest.mark.parametrize("address", ['"', "<"])
def test_an_address_that_is_none_costs_no_message(tmp_path: Path, address: str) -> None:
    document = only(tmp_path, f"To: {address}\n\nWords.\n".encode())
    assert (document.text, document.metadata.model_dump()["to"]) == ("Words.\n", address)


def test_a_text_with_the_name_of_a_file_is_read_where_there_is_no_other(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "Report"
    message.make_mixed()
    named = part("Please see below.")
    named.set_param("name", "body.txt")
    message.attach(named)
    message.add_attachment(b"%PDF", "application", "pdf", filename="a.pdf")
    assert only(tmp_path, message).text.strip() == "Please see below."
    message.attach(part("Without a name."))
    assert only(tmp_path, message).text.strip() == "Without a name."


def test_one_part_that_cannot_be_read_costs_none_of_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = mail("Hello.", "Note")
    message.make_mixed()
    footer = part("footer")
    footer.replace_header("Content-Type", 'text/plain; charset="foo-bar"')
    footer.set_payload(b"caf\xe9")
    message.attach(footer)
    assert only(tmp_path, message).text.strip() == "Hello."
    assert "left out a part of mail that is in an unknown encoding" in caplog.text
    _, (rejection,) = read_as(tmp_path, "b.eml", b"Subject: a\n" + footer.as_bytes())
    assert rejection.reason == "is in an unknown encoding"


def test_mail_that_says_an_unknown_encoding_may_be_utf8(tmp_path: Path) -> None:
    head = b"Subject: x\nContent-Type: text/plain; charset=unknown-8bit\n\n"
    assert only(tmp_path, head + "caf\u00e9\n".encode()).text == "caf\u00e9\n"


def test_of_a_page_with_pictures_the_part_that_it_names_is_read(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "Page"
    message.make_related()
    message.set_param("start", "<page>")
    message.add_related(b"png", "image", "png", cid="<picture>")
    page = part("<p>The page.</p>", "html")
    page["Content-ID"] = "<page>"
    message.attach(page)
    assert only(tmp_path, message).text.strip() == "The page."


PARTS = "--x y\nContent-Type: text/plain; charset=utf-8\n\nOné\n--x y\nContent-Type: text/html\n\n<p>Two\n--x y--\n"


@pytest.mark.parametrize("kind", ["multipart/mixed", 'multipart/mixed; boundary="other"', "multipart/mixed; boundary="])
def test_parts_whose_boundary_is_not_said_are_found(tmp_path: Path, kind: str) -> None:
    message = f"Subject: Broken\nContent-Type: {kind}\n\n{PARTS}".encode()
    assert only(tmp_path, message).text.split() == ["Oné", "Two"]
    around = (
        f"Subject: Broken\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: {kind}\n\n{PARTS}\n--o--\n"
    )
    assert only(tmp_path, around.encode()).text.split() == ["Oné", "Two"]


def test_mail_that_says_to_have_parts_and_has_none_is_its_text(tmp_path: Path) -> None:
    message = b"Subject: Broken\nContent-Type: multipart/mixed\n\nHello\n-- \nAda\n"
    assert only(tmp_path, message).text == "Hello\n-- \nAda\n"


@pytest.mark.parametrize(
    "text",
    [
        "Important.\n\n-----Original Message-----\nFrom: x\nDate: y\n\nOld text.\n",
        "Important.\n-- \nTel: 123\n\nmore\n",
        "Important.\n-----\n\nmore\n",
        "Important.\n-----\nContent-Type: is a header\n\nmore\n",
        f"Important.\n\n{PARTS}",
    ],
)
def test_nothing_is_lost_before_what_looks_like_a_boundary(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, f"Subject: Broken\nContent-Type: multipart/mixed\n\n{text}".encode()).text == text


@pytest.mark.parametrize(
    "said",
    [
        "This is a multi-part message in MIME format.",
        "This is a multi-part message in MIME format...",
        "This is a MIME-encapsulated message.",
        "This is a message with multiple parts in MIME format.\nYour reader does not know it.",
    ],
)
def test_what_programs_write_before_parts_is_left_out(tmp_path: Path, said: str) -> None:
    before = f"Content-Type: multipart/mixed\n\n{said}\n\n"
    assert only(tmp_path, f"{before}{PARTS.lower()}".encode()).text.split() == ["oné", "two"]


@pytest.mark.parametrize("kind", ["", "Content-Type: text/plain\n", "Content-Type: text/html; charset=us-ascii\n"])
def test_mail_in_utf_8_need_not_say_so(tmp_path: Path, kind: str) -> None:
    document = only(tmp_path, f"Subject: Café\n{kind}\nÉtudes.\n".encode())
    assert (document.metadata.title, document.text) == ("Café", "Études.\n")


def test_another_encoding_that_is_not_said_is_not_guessed(tmp_path: Path) -> None:
    message = "Subject: Note\n\nÉtudes.\n".encode("cp1252")
    documents, (rejection,) = read_as(tmp_path, "a.eml", message)
    assert not documents
    assert "--encoding" in rejection.reason
    (document,), _ = read_as(tmp_path, "a.eml", message, ReadOptions(encoding="cp1252"))
    assert document.text == "Études.\n"


def test_mail_may_begin_with_a_mark_and_blank_lines(tmp_path: Path) -> None:
    assert only(tmp_path, b"\xef\xbb\xbf\r\n\nSubject: Note\n\nwords\n").text == "words\n"


INVITATION = r"""BEGIN:VCALENDAR
BEGIN:VTIMEZONE
DTSTART:16010101T000000
END:VTIMEZONE
BEGIN:VEVENT
DTSTART;TZID="Europe/Berlin":20240305T100000
LOCATION:Room 5\, first floor
DESCRIPTION;LANGUAGE=en:Agenda: budget\nand hi
 ring\; more
SUMMARY:Planning
BEGIN:VALARM
DESCRIPTION:REMINDER
END:VALARM
END:VEVENT
BEGIN:VEVENT
SUMMARY:Party
DTSTART;VALUE=DATE:20240601
DTEND:20240602T100000Z
END:VEVENT
END:VCALENDAR
"""


def test_an_invitation_without_a_text_is_its_calendar(tmp_path: Path) -> None:
    message = part(INVITATION, "calendar")
    message["Subject"] = "Invitation"
    said = [
        "Planning\nStart: 2024-03-05 10:00 Europe/Berlin\nLocation: Room 5, first floor\n"
        "Agenda: budget\nand hiring; more",
        "Party\nStart: 2024-06-01\nEnd: 2024-06-02 10:00 UTC",
    ]
    assert only(tmp_path, message).text == "\n\n".join(said)
    message = mail("Come.", "Invitation")
    message.make_mixed()
    message.attach(part(INVITATION, "calendar"))
    assert only(tmp_path, message).text.strip() == "Come."


@pytest.mark.parametrize(
    ("to", "shown"),
    [
        (b"a@example.org; b@example.org", "a@example.org; b@example.org"),
        (b"=?utf-8?q?J=C3=B6rg?= <a@example.org>; b@example.org;", "J\u00f6rg <a@example.org>; b@example.org;"),
        ("J\u00f6rg; Zo\u00eb".encode(), "J\u00f6rg; Zo\u00eb"),
        (b"undisclosed-recipients:;", "undisclosed-recipients:;"),
    ],
)
def test_addresses_between_semicolons_are_kept(tmp_path: Path, to: bytes, shown: str) -> None:
    document = only(tmp_path, b"To: " + to + b"\nSubject: x\n\nwords\n")
    assert (document.metadata.model_extra or {})["to"] == shown

"""What the web can do to a crawler: every case is refused or bounded, and ends as exactly one row with its reason."""

from __future__ import annotations

import resource
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from curation import crawl_records
from curation.journal import Journal, Place
from curation.store import Store
from curation.web.crawl import Crawler, Item
from curation.web.pace import HostClock
from curation.web.policy import CrawlPolicy
from curation.web.urls import Refused, normalise
from tests.curation.web import hostile
from tests.curation.web.hostile import Server, endless, response

POLICY = CrawlPolicy(
    contact="tests@example.org", rate=0, per_host=8, deadline=1.5, max_bytes=1 << 20, max_pixels=10_000_000, max_wait=2.0,
    retries=1, host_failures=1000, networks=("127.0.0.1/32",),
)  # fmt: skip
LATE = formatdate(time.time() + 86_400, usegmt=True)


def redirect(to: str) -> bytes:
    return response(b"", "302 Found", Location=to)


REPLIES: dict[str, bytes | hostile.Handler] = {
    "/good": response(hostile.jpeg()),
    "/to-metadata": redirect("http://169.254.169.254/latest/meta-data/"),
    "/to-private": redirect("http://192.168.0.1/a.jpg"),
    "/to-shared": redirect("http://100.64.0.1/"),
    "/to-loopback": redirect("http://127.0.0.2/"),
    "/to-decimal": redirect("http://2130706434/"),
    "/to-octal": redirect("http://0177.0.0.2/"),
    "/to-hex": redirect("http://0x7f000002/"),
    "/to-short": redirect("http://127.2/"),
    "/to-wide-digits": redirect("http://１２７.0.0.2/".encode().decode("latin-1")),
    "/to-v6-loopback": redirect("http://[::1]/"),
    "/to-v4-in-v6": redirect("http://[::ffff:10.0.0.1]/"),
    "/to-nat64": redirect("http://[64:ff9b::a00:1]/"),
    "/to-6to4": redirect("http://[2002:a00:1::]/"),
    "/to-link-local": redirect("http://[fe80::1]/"),
    "/to-unique-local": redirect("http://[fd00:ec2::254]/"),
    "/to-multicast": redirect("http://224.0.0.1/"),
    "/to-zero": redirect("http://0.0.0.0/"),
    "/to-file": redirect("file:///etc/passwd"),
    "/to-gopher": redirect("gopher://127.0.0.1:70/_x"),
    "/to-data": redirect("data:image/png;base64,AAAA"),
    "/to-credentials": redirect("http://user:secret@example.org/"),
    "/to-at": redirect("http://example.org@10.0.0.1/"),
    "/to-tab": redirect("http://exam\tple.org/\x01"),
    "/to-itself": redirect("/to-itself"),
    "/to-and": redirect("/fro"),
    "/fro": redirect("/to-and"),
    **{f"/chain-{n}": redirect(f"/chain-{n + 1}") for n in range(20)},
    "/to-nowhere": response(b"", "302 Found"),
    "/to-empty": redirect(" "),
    "/to-unlisted": redirect("http://blocked.example/"),
    "/gzip-bomb": response(hostile.gzip_bomb(), Content_Encoding="gzip"),
    "/gzip-lie": response(hostile.jpeg(), Content_Encoding="gzip"),
    "/gzip-cut": response(hostile.gzip_bomb(1000)[:20], Content_Encoding="gzip"),
    "/brotli": response(b"abc", Content_Encoding="br"),
    "/endless-headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "/huge-header": response(b"", X_Long="a" * 200_000),
    "/endless-header": endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 4096),
    "/endless-body": endless(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", b"\xff" * 65536),
    "/endless-chunks": endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"\xff" * 65536 + b"\r\n"
    ),
    "/one-byte-a-second": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"\xff", 0.5),
    "/slow-headers": endless(b"HTTP/1.1 200 OK\r\n", b"X", 0.3),
    "/silence": hostile.silence,
    "/hang-up": hostile.hang_up,
    "/too-long": response(hostile.jpeg(), Content_Length="99999999999"),
    "/short-body": response(hostile.jpeg(), Content_Length="500000"),
    "/negative-length": response(hostile.jpeg(), Content_Length="-5"),
    "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "/bad-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
    "/no-status": b"<html>hello</html>",
    "/http-0.9": hostile.jpeg(),
    "/bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "/continue-flood": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "/html": response(b"<!doctype html><p>not found</p>"),
    "/svg": response(b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
    "/eps": response(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "/empty": response(b""),
    "/header-only": response(hostile.jpeg()[:12]),
    "/pixel-bomb": response(hostile.bomb_png()),
    "/gone": response(b"", "410 Gone"),
    "/forbidden": response(b"", "451 Unavailable For Legal Reasons"),
    "/broken": response(b"", "500 Oops"),
    "/teapot": response(b"", "418 Teapot"),
    "/no-content": response(b"", "204 No Content", Content_Length=""),
    "/partial": response(hostile.jpeg(), "206 Partial Content"),
    "/busy-for-ever": response(b"", "503 Busy", Retry_After="0"),
    "/come-tomorrow": response(b"", "429 Slow Down", Retry_After="86400"),
    "/come-on-date": response(b"", "429 Slow Down", Retry_After=LATE),
    "/come-whenever": response(b"", "503 Busy", Retry_After="never; rm -rf"),
    "/noai": response(hostile.jpeg(), X_Robots_Tag="noai"),
    "/noimageindex": response(hostile.jpeg(), X_Robots_Tag="all, NoImageIndex"),
    "/none": response(hostile.jpeg(), X_Robots_Tag="none"),
    "/noindex-for-us": response(hostile.jpeg(), X_Robots_Tag="otherbot: all, curate: noindex"),
    "/noindex-for-others": response(hostile.jpeg(), X_Robots_Tag="otherbot: noindex"),
    "/tdm": response(hostile.jpeg(), TDM_Reservation="1"),
    "/tdm-no": response(hostile.jpeg(), TDM_Reservation="0"),
}
EXPECTED: dict[str, str | None] = {
    "/good": None,
    **dict.fromkeys(
        ("/to-metadata", "/to-private", "/to-shared", "/to-loopback", "/to-decimal", "/to-octal", "/to-hex", "/to-short",
         "/to-v6-loopback", "/to-v4-in-v6", "/to-nat64", "/to-6to4", "/to-link-local", "/to-unique-local", "/to-multicast",
         "/to-zero"),
        "blocked_address",
    ),
    **dict.fromkeys(("/to-file", "/to-gopher", "/to-data"), "blocked_scheme"),
    **dict.fromkeys(("/to-credentials", "/to-at"), "credentials_in_url"),
    **dict.fromkeys(("/to-itself", "/to-and"), "redirect_loop"),
    "/chain-0": "too_many_redirects",
    **dict.fromkeys(("/to-nowhere", "/to-empty"), "bad_url"),
    **dict.fromkeys(("/gzip-bomb", "/endless-body", "/endless-chunks", "/too-long"), "too_many_bytes"),
    **dict.fromkeys(("/gzip-lie", "/gzip-cut", "/short-body"), "incomplete_body"),
    "/brotli": "content_encoding",
    **dict.fromkeys(("/one-byte-a-second", "/slow-headers", "/silence", "/continue-flood"), "timeout"),
    "/hang-up": "connection_lost",
    **dict.fromkeys(("/huge-header", "/negative-length", "/two-lengths", "/no-status", "/http-0.9", "/bad-status",
                     "/endless-headers", "/endless-header", "/bad-chunks"), "bad_response"),
    **dict.fromkeys(("/html", "/svg", "/eps", "/header-only"), "not_an_image"),
    "/empty": "empty_body",
    "/pixel-bomb": "too_many_pixels",
    "/gone": "not_found",
    "/forbidden": "forbidden",
    "/broken": "server_error",
    **dict.fromkeys(("/teapot", "/no-content", "/partial"), "http_error"),
    **dict.fromkeys(("/busy-for-ever", "/come-tomorrow", "/come-on-date", "/come-whenever"), "rate_limited"),
    **dict.fromkeys(("/noai", "/noimageindex", "/none", "/noindex-for-us", "/tdm"), "opt_out"),
    **dict.fromkeys(("/noindex-for-others", "/tdm-no"), None),
}  # fmt: skip


def crawl(urls: list[str], folder: Path, policy: CrawlPolicy = POLICY, resolver: Callable[[], Any] | None = None) -> list[dict]:
    """The rows of these URLs, in their order."""
    crawler = Crawler(policy, HostClock(str(folder / "clock")), resolver)
    items = [Item(n, {"url_id": f"{n:032x}", "url": url, "page": None, "caption": None}) for n, url in enumerate(urls)]
    with Journal(Place.of(Store(str(folder)), "fetched", "images/{part:05d}.tar", 0), "test") as journal:
        journal.open()
        crawler.crawl(items, journal)
        assert journal.done == set(range(len(urls)))
        return journal.table(crawl_records.FETCHED).to_pylist()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(REPLIES) as running:
        yield running


@pytest.mark.parametrize("path", EXPECTED)
def test_every_case_is_bounded_and_has_its_row(server: Server, tmp_path: Path, path: str) -> None:
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (row,) = crawl([server.url(path)], tmp_path)
    assert row["drop_reason"] == EXPECTED[path], row
    assert time.monotonic() - began < 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB
    assert (row["image_id"] is None) == (row["drop_reason"] is not None)
    assert row["url"] == server.url(path)


def test_wide_digits_in_a_location_lead_nowhere(server: Server, tmp_path: Path) -> None:
    """Bytes that are no ASCII in a header are read in more than one way: whichever, no private address is reached."""
    (row,) = crawl([server.url("/to-wide-digits")], tmp_path)
    assert row["drop_reason"] in ("blocked_address", "bad_url", "dns_error", "bad_response", "robots_unreachable")


def test_all_at_once_are_as_many_rows(server: Server, tmp_path: Path) -> None:
    paths = [path for path in EXPECTED if not path.startswith("/come") and path != "/busy-for-ever"]
    began = time.monotonic()
    rows = crawl([server.url(path) for path in paths], tmp_path, replace(POLICY, per_host=64))
    assert [row["drop_reason"] for row in rows] == [EXPECTED[path] for path in paths]
    assert time.monotonic() - began < 12


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://2130706433/", "blocked_address"),
        ("http://0x7f.1/", "blocked_address"),
        ("http://017700000001/", "blocked_address"),
        ("http://127.1/", "blocked_address"),
        ("http://１２７.0.0.1/", "blocked_address"),
        ("http://[::ffff:127.0.0.1]/", "blocked_address"),
        ("http://169.254.169.254/", "blocked_address"),
        ("http://168.63.129.16/", "blocked_address"),
        ("http://[fd00:ec2::254]/", "blocked_address"),
    ],
)
def test_hosts_in_disguise(tmp_path: Path, url: str, reason: str) -> None:
    (row,) = crawl([normalise(url)], tmp_path, replace(POLICY, networks=()))
    assert row["drop_reason"] == reason
    assert row["status"] is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://user:secret@example.org/a", "credentials_in_url"),
        ("http://example.org\r\nHost: evil/", "bad_url"),
        ("http://example.org/\x00a", "bad_url"),
        ("http://example.org/" + "a" * 5000, "bad_url"),
        ("http:///nohost", "blocked_address"),
        ("javascript:alert(1)", "blocked_scheme"),
        ("file:///etc/passwd", "blocked_scheme"),
        ("http://exa mple.org/", "bad_url"),
        ("http://[::1", "bad_url"),
        ("", "bad_url"),
    ],
)
def test_urls_that_are_never_asked(url: str, reason: str) -> None:
    if reason == "blocked_address":
        assert normalise(url) == "http://nohost/"  # a browser would ask for the host `nohost`
        return
    with pytest.raises(Refused) as refusal:
        normalise(url)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("answers", [("127.0.0.2",), ("10.0.0.7",), ("169.254.169.254",), ("::1",), ("::ffff:127.0.0.1",)])
def test_names_that_lead_inside(tmp_path: Path, answers: tuple[str, ...]) -> None:
    policy = replace(POLICY, robots="ignore", networks=())
    (row,) = crawl(["http://inside.example/a.jpg"], tmp_path, policy, hostile.resolver(*answers))
    assert row["drop_reason"] == "blocked_address"


def test_a_name_that_changes_between_look_ups(tmp_path: Path) -> None:
    """The first answer lets the host pass its robots.txt, the second would lead to a server on a private address."""
    with Server({}) as server:
        policy = replace(POLICY, robots_unreachable="allow", networks=("127.0.0.1/32",))
        urls = [f"http://rebound.example:{server.port}/{n}" for n in range(3)]
        rows = crawl(urls, tmp_path, policy, hostile.resolver("127.0.0.1", "127.0.0.3"))
        assert {row["drop_reason"] for row in rows} <= {None, "blocked_address"}
        assert all("127.0.0.3" not in head for head in server.headers)
        later = Crawler(policy, HostClock(str(tmp_path / "clock")), hostile.resolver("127.0.0.3"))
        (tmp_path / "again").mkdir()
        place = Place.of(Store(str(tmp_path / "again")), "fetched", "images/{part:05d}.tar", 0)
        with Journal(place, "test") as journal:
            later.crawl([Item(0, {"url_id": "0" * 32, "url": urls[0], "page": None, "caption": None})], journal.open())
            assert dict(journal.counts) == {"blocked_address": 1}


def test_lists_see_through_trailing_dots_case_and_look_alikes(tmp_path: Path) -> None:
    (tmp_path / "block").write_text("# ads\n0.0.0.0 ads.example\nevil.example\nexample.org/private\n/[0-9]{8}\\.jpg/\n")
    (tmp_path / "allow").write_text("paypal.example\n")
    policy = replace(POLICY, block=(str(tmp_path / "block"),), robots="ignore")
    urls = ["http://evil.example./a", "http://A.EVIL.example/a", "http://ads.example/x", "http://example.org/private/b?c=d",
            "http://example.net/12345678.jpg"]  # fmt: skip
    assert [r["drop_reason"] for r in crawl([normalise(u) for u in urls], tmp_path, policy)] == ["blocked_host"] * 5
    only = replace(POLICY, allow=(str(tmp_path / "allow"),), robots="ignore")
    (tmp_path / "two").mkdir()
    look_alike = normalise("http://pаypal.example/")  # a Cyrillic letter
    assert "xn--" in look_alike
    assert [row["drop_reason"] for row in crawl([look_alike], tmp_path / "two", only)] == ["not_allowed_host"]


def test_a_redirect_to_a_blocked_host_is_not_followed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "block").write_text("blocked.example\n")
    (row,) = crawl([server.url("/to-unlisted")], tmp_path, replace(POLICY, block=(str(tmp_path / "block"),)))
    assert row["drop_reason"] == "blocked_host"


ROBOTS: dict[str, tuple[bytes | hostile.Handler, str | None]] = {
    "none": (response(b"", "404 Not Found"), None),
    "forbidden": (response(b"", "403 Forbidden"), None),
    "disallow": (response(b"User-agent: *\nDisallow: /\n"), "robots_disallowed"),
    "disallow us": (response(b"User-agent: curate\nDisallow: /\n\nUser-agent: *\nAllow: /\n"), "robots_disallowed"),
    "allow us": (response(b"User-agent: *\nDisallow: /\n\nUser-agent: curate\nDisallow: /other\n"), None),
    "html": (response(b"<!doctype html><p>hello"), None),
    "binary": (response(bytes(range(256)) * 50), None),
    "broken": (response(b"", "500 Oops"), "robots_unreachable"),
    "busy": (response(b"", "429 Slow Down"), "robots_unreachable"),
    "silent": (hostile.silence, "robots_unreachable"),
    "endless": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"Allow: /\n" * 1000), "robots_disallowed"),
    "loop": (redirect("/robots.txt"), "robots_unreachable"),
    "inside": (redirect("http://10.0.0.1/robots.txt"), "robots_unreachable"),
    "week-long delay": (response(b"User-agent: *\nCrawl-delay: 604800\n"), "crawl_delay"),
}


@pytest.mark.parametrize("case", ROBOTS)
def test_robots(tmp_path: Path, case: str) -> None:
    reply, reason = ROBOTS[case]
    with Server({}, reply) as server:
        (row,) = crawl([server.url("/a.jpg")], tmp_path)
        assert row["drop_reason"] == reason, row
        assert ("/a.jpg" in server.asked) == (reason is None)
        if reason == "robots_unreachable":
            (tmp_path / "open").mkdir()
            (row,) = crawl([server.url("/a.jpg")], tmp_path / "open", replace(POLICY, robots_unreachable="allow"))
            assert row["drop_reason"] is None


def test_robots_are_asked_for_once_and_with_an_honest_name(tmp_path: Path) -> None:
    with Server({}, response(b"User-agent: *\nDisallow: /no\n")) as server:
        rows = crawl([server.url(f"/{n}") for n in range(20)] + [server.url("/no")], tmp_path)
        assert [row["drop_reason"] for row in rows] == [None] * 20 + ["robots_disallowed"]
        assert server.asked.count("/robots.txt") == 1
        assert {row["robots"] for row in rows} == {"rules"}
        assert all("User-Agent: curate/0.1 (+tests@example.org)" in head for head in server.headers)
        assert all("cookie" not in head.lower() for head in server.headers)


def test_cookies_are_not_kept(tmp_path: Path) -> None:
    with Server({"/a": response(hostile.jpeg(), Set_Cookie="id=1; Path=/")}) as server:
        crawl([server.url("/a"), server.url("/b")], tmp_path, replace(POLICY, per_host=1))
        assert all("cookie" not in head.lower() for head in server.headers)


def test_a_host_that_is_down_does_not_hold_the_crawl(tmp_path: Path) -> None:
    policy = replace(POLICY, robots="ignore", host_failures=3, per_host=1)
    rows = crawl([f"http://127.0.0.1:1/{n}" for n in range(50)], tmp_path, policy)
    assert [row["drop_reason"] for row in rows] == ["no_connection"] * 3 + ["host_down"] * 47


def test_turns_are_kept(tmp_path: Path) -> None:
    with Server({}) as server:
        times: list[float] = []
        serve = server._serve

        async def noted(reader: Any, writer: Any) -> None:
            times.append(time.monotonic())
            await serve(reader, writer)

        server._serve = noted  # type: ignore[method-assign]
        began = time.monotonic()
        crawl([server.url(f"/{n}") for n in range(10)], tmp_path, replace(POLICY, rate=20, robots="ignore"))
        assert time.monotonic() - began >= 9 / 20


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_certificates_are_checked(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", *files]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with Server({}, context=context) as server:
        (row,) = crawl([f"https://127.0.0.1:{server.port}/a"], tmp_path, replace(POLICY, robots="ignore"))
        assert row["drop_reason"] == "tls_error"
        assert server.asked == []

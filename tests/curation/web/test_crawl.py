"""How a crawler treats hosts: when it asks, what it makes of their rules, and whom it takes a failure for."""

from __future__ import annotations

import asyncio
import gzip
import resource
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from curation.web.body import Held
from curation.web.consent import LEAST, MAX_ROBOTS, KnownRobots, Robots, opt_out, parse_robots
from curation.web.fetch import _seconds
from curation.web.urls import Refused, host_of, normalise
from tests.curation.web import hostile
from tests.curation.web.hostile import Server, response
from tests.curation.web.test_hostile_servers import POLICY, crawl, redirect

NO = b"User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize(
    "reply",
    [
        response(NO, X_Robots_Tag="noindex"),
        response(NO, X_Robots_Tag="noai", TDM_Reservation="1"),
        response(b"\xef\xbb\xbf" + NO),
        response(NO.replace(b"\n", b"\r\n")),
        response(NO.replace(b"\n", b"\r")),
        response(NO, "203 Non-Authoritative Information"),
        response(gzip.compress(NO), Content_Encoding="gzip"),
    ],
    ids=["noindex on the file", "noai on the file", "byte order mark", "CRLF", "CR", "203", "gzip"],
)
def test_rules_are_read_however_they_are_served(tmp_path: Path, reply: bytes) -> None:
    with Server({}, reply) as server:
        (row,) = crawl([server.url("/a.jpg")], tmp_path)
        assert row["drop_reason"] == "robots_disallowed"
        assert server.asked == ["/robots.txt"]


def test_rules_that_are_cut_short_are_none(tmp_path: Path) -> None:
    with Server({}, response(NO, Content_Length="500")) as server:
        (row,) = crawl([server.url("/a.jpg")], tmp_path)
        assert row["drop_reason"] == "robots_unreachable"


def test_redirects_of_rules_wait_for_their_turn_too(tmp_path: Path) -> None:
    replies: dict[str, bytes | hostile.Handler] = {f"/r{n}": redirect(f"/r{n + 1}") for n in range(3)} | {"/r3": response(b"")}
    with Server(replies, redirect("/r0")) as server:
        began = time.monotonic()
        crawl([server.url("/a.jpg")], tmp_path, replace(POLICY, rate=10))
        assert server.asked == ["/robots.txt", "/r0", "/r1", "/r2", "/r3", "/a.jpg"]
        assert time.monotonic() - began > 5 * 0.1


def test_known_robots_are_bounded_and_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownRobots(room=10 * LEAST)
    for n in range(1000):
        known.put(f"http://{n}.example", Robots("none"))
        known.put(f"http://{n}.example", Robots("none"))
    assert len(known.answers) == 10
    assert known.get("http://999.example") == Robots("none")
    assert known.get("http://1.example") is None
    known.put("http://long.example", parse_robots(200, b"Disallow: /a\n" * (MAX_ROBOTS // 12)))
    assert list(known.answers) == ["http://long.example"]
    assert known.size == known.answers["http://long.example"][0].size + LEAST
    later = time.time() + 86_401
    monkeypatch.setattr(time, "time", lambda: later)
    assert known.get("http://long.example") is None


def test_a_long_list_of_rules_costs_little() -> None:
    wild = b"User-agent: *\n" + b"".join(b"Disallow: /*a*a*a*%d\n" % n for n in range(20_000))
    began = time.process_time()
    robots = parse_robots(200, wild)
    assert robots.allows("http://a.example/" + "a" * 4000)
    assert time.process_time() - began < 10


def noting(times: list[float]) -> hostile.Handler:
    """A photograph; the time of every request is noted, in seconds."""

    async def note(_path: str, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        writer.write(response(hostile.jpeg()))

    return note


def most_within(times: list[float], seconds: float) -> int:
    return max(sum(at <= other < at + seconds for other in times) for at in times)


def test_turns_do_not_gather_while_slots_are_taken(tmp_path: Path) -> None:
    """Slow hosts hold every slot for a while; the takers of one host that waited for slots must not ask all at once."""
    busy, times = [f"http://slow-{n}.example:{{port}}/slow" for n in range(4)], list[float]()

    async def slow(_path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.0)
        writer.write(response(hostile.jpeg()))

    with Server({"/slow": slow}) as slow_server, Server({f"/{n}": noting(times) for n in range(8)}) as server:
        urls = [url.format(port=slow_server.port) for url in busy for _ in range(2)]
        urls += [f"http://fast.example:{server.port}/{n}" for n in range(8)]
        policy = replace(POLICY, robots="ignore", rate=2, concurrency=4, deadline=10, per_host=8)
        rows = crawl(urls, tmp_path, policy, hostile.resolver("127.0.0.1"))
    assert [row["drop_reason"] for row in rows] == [None] * 16
    assert len(times) == 8
    assert most_within(times, 0.3) == 1
    assert most_within(times, 0.9) <= 2


def test_late_crawlers_move_turns_back_and_go_on(tmp_path: Path) -> None:
    """A thousand turns a second are more than any loop keeps up with; every URL is asked all the same."""
    with Server({}) as server:
        began = time.monotonic()
        rows = crawl([server.url(f"/{n}") for n in range(300)], tmp_path, replace(POLICY, robots="ignore", rate=1000))
        assert Counter(row["drop_reason"] for row in rows) == {None: 300}
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("wait", ["86400000", "9" * 400, "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_hosts_that_ask_for_absurd_waits_are_left_alone(tmp_path: Path, wait: str) -> None:
    with Server({"/0": response(b"", "429 Slow Down", Retry_After=wait)}) as server:
        rows = crawl([server.url(f"/{n}") for n in range(20)], tmp_path, replace(POLICY, robots="ignore", per_host=1))
        assert {row["drop_reason"] for row in rows} == {"rate_limited"}
        assert server.asked == ["/0"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", 5.0), (" 5 ", 5.0), ("²", None), ("-1", None), ("soon", None), ("", None), (None, None), ("9" * 400, float("inf")),
     ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None), ("Mon, 01 Jan 2030 00:00:00 +99999999999999999999", None),
     ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0), ("Mon, 01 Jan 2001 00:00:00", 0.0)],
)  # fmt: skip
def test_waits(value: str | None, expected: float | None) -> None:
    assert _seconds(value) == expected


def test_a_header_that_breaks_a_library_costs_one_row(tmp_path: Path) -> None:
    bad = response(b"", "429 Slow Down", Retry_After="Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
    with Server({"/0": bad}) as server:
        rows = crawl([server.url(f"/{n}") for n in range(3)], tmp_path, replace(POLICY, robots="ignore", retries=0))
        assert [row["drop_reason"] for row in rows] == ["rate_limited", None, None]


def test_a_dead_target_is_not_held_against_the_host_that_named_it(tmp_path: Path) -> None:
    with Server({f"/{n}": redirect(f"http://127.0.0.1:1/{n}") for n in range(5)}) as server:
        urls = [f"http://short.example:{server.port}/{n}" for n in range(6)]
        policy = replace(POLICY, robots="ignore", host_failures=3, per_host=1)
        rows = crawl(urls, tmp_path, policy, hostile.resolver("127.0.0.1"))
    assert [row["drop_reason"] for row in rows] == ["no_connection"] * 3 + ["host_down"] * 2 + [None]
    assert all(row["final_url"].startswith("http://127.0.0.1:1/") for row in rows[:5])


def test_slow_bodies_do_not_make_a_host_down(tmp_path: Path) -> None:
    slow = hostile.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"\xff", 0.2)
    with Server({"/0": slow, "/1": slow}) as server:
        policy = replace(POLICY, robots="ignore", host_failures=2, per_host=1, deadline=1)
        rows = crawl([server.url(f"/{n}") for n in range(3)], tmp_path, policy)
    assert [(row["drop_reason"], row["status"]) for row in rows] == [("timeout", 200), ("timeout", 200), (None, 200)]


def test_packed_bodies_take_what_they_weigh_until_they_are_whole(tmp_path: Path) -> None:
    """Forty bombs that stop before their end would unpack to 1.3 GB while they wait for it."""
    bomb = gzip.compress(bytes(32 << 20))[:-8]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (len(bomb) + 8)
    with Server({f"/{n}": hostile.endless(head + bomb, b"", 0.2) for n in range(40)}) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        policy = replace(POLICY, robots="ignore", per_host=40, max_bytes=64 << 20, deadline=4)
        rows = crawl([server.url(f"/{n}") for n in range(40)], tmp_path, policy)
        assert {row["drop_reason"] for row in rows} == {"timeout"}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (2, 2)])
def test_a_lost_connection_is_tried_once_more(tmp_path: Path, retries: int, attempts: int) -> None:
    """aiohttp by itself asks twice: a host that keeps connections open may close one just when it is used again."""
    calls = list[float]()

    async def third(path: str, writer: asyncio.StreamWriter) -> None:
        calls.append(0.0)
        await (noting([]) if len(calls) > 2 else hostile.hang_up)(path, writer)

    with Server({"/0": third, "/1": hostile.hang_up}) as server:
        rows = crawl([server.url("/0"), server.url("/1")], tmp_path, replace(POLICY, robots="ignore", retries=retries))
        assert [row["drop_reason"] for row in rows] == [None if retries else "connection_lost", "connection_lost"]
        assert [row["attempts"] for row in rows] == [attempts, attempts]
        assert server.asked.count("/1") == 2 * attempts


def test_a_lost_connection_costs_a_turn_each_time(tmp_path: Path) -> None:
    times = list[float]()

    async def note(path: str, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        await hostile.hang_up(path, writer)

    with Server({"/0": note}) as server:
        (row,) = crawl([server.url("/0")], tmp_path, replace(POLICY, robots="ignore", rate=2))
    assert row["drop_reason"] == "connection_lost"
    assert len(times) == 2
    assert times[1] - times[0] > 0.25  # half a second, but the first one is noted a little after its turn


@pytest.mark.parametrize("host", ["bücher.example", "faß.example", "xn--a-.example", "例え.example", "with_underscore.example"])
def test_international_hosts_are_asked(tmp_path: Path, host: str) -> None:
    with Server({}) as server:
        try:
            url = normalise(f"http://{host}:{server.port}/a.jpg")
        except Refused:
            assert host == "xn--a-.example"
            return
        (row,) = crawl([url], tmp_path, POLICY, hostile.resolver("127.0.0.1"))
        assert row["drop_reason"] is None
        assert f"host: {host_of(url)}:" in server.headers[-1].lower()


@pytest.mark.parametrize(
    ("location", "asked"),
    [("/caf\xe9.jpg".encode("latin-1"), "/caf%E9.jpg"), ("/café.jpg".encode(), "/caf%C3%A9.jpg"), (b"/a b", "/a%20b"),
     (b"/\xed\xa0\x80", "/%ED%A0%80")],
)  # fmt: skip
def test_redirects_in_any_encoding_are_followed(tmp_path: Path, location: bytes, asked: str) -> None:
    reply = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    with Server({"/0": reply}) as server:
        rows = crawl([server.url("/0"), server.url("/1")], tmp_path, replace(POLICY, robots="ignore", per_host=1))
        assert [row["drop_reason"] for row in rows] == [None, None]
        assert server.asked == ["/0", asked, "/1"]


@pytest.mark.parametrize("url", ["http://a.example/\ud800", "http://\udce9.example/", "\ud800"])
def test_half_surrogates_are_no_urls(url: str) -> None:
    with pytest.raises(Refused, match="bad_url"):
        normalise(url, "http://a.example/")


def test_many_large_bodies_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty pictures of 6 MB, all begun at once, where there is room for 24 MB: every one comes, a few at a time."""
    picture = hostile.jpeg() + bytes(6 << 20)
    most = 0

    class Noted(Held):
        def __init__(self) -> None:
            super().__init__(room=24 << 20)

        def __setattr__(self, name: str, value: object) -> None:
            nonlocal most
            most = max(most, value) if name == "size" and isinstance(value, int) else most
            super().__setattr__(name, value)

    monkeypatch.setattr("curation.web.fetch.Held", Noted)
    with Server({f"/{n}": response(picture) for n in range(40)}) as server:
        policy = replace(POLICY, robots="ignore", per_host=40, max_bytes=64 << 20, deadline=30)
        rows = crawl([server.url(f"/{n}") for n in range(40)], tmp_path, policy)
    assert {row["drop_reason"] for row in rows} == {None}
    assert 24 << 20 < most < (24 + 4 * 6 + 8) << 20


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("noai noimageai", "noai"), ("noimageai; noindex", "noimageai"), ("max-image-preview: none", None),
     ("max-image-preview: large, noindex", "noindex"), ("otherbot: noai noindex", None), ("curate: none", "noindex")],
)  # fmt: skip
def test_wishes_are_read_with_the_separators_people_use(tag: str, expected: str | None) -> None:
    assert opt_out([("X-Robots-Tag", tag)]) == (expected and f"x-robots-tag: {expected}")

"""Addresses, host lists, turns and wishes: what a crawler may do, each rule with its smallest case."""

from __future__ import annotations

import ipaddress
import multiprocessing
import time
from itertools import pairwise
from pathlib import Path

import pytest

from curation.web import hosts
from curation.web.address import AddressRefused, refused, socket_factory
from curation.web.consent import OPT_OUTS, meta_opt_out, opt_out, parse_robots
from curation.web.pace import FAR, HostClock
from curation.web.policy import CrawlPolicy
from curation.web.urls import Refused, host_of, normalise, origin_of, parents

INSIDE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.255.255", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "192.0.0.192", "198.18.0.1", "168.63.129.16", "::", "::1",
    "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8:1",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:c0a8:101::", "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_refused(address: str) -> None:
    assert refused(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::1"]
)
def test_public_addresses_are_not(address: str) -> None:
    assert refused(address) is None


def test_networks_can_be_let_in_and_only_they() -> None:
    loopback = (ipaddress.ip_network("127.0.0.1/32"),)
    assert refused("127.0.0.1", loopback) is None
    assert refused("127.0.0.2", loopback)
    assert refused("::1", loopback)
    make = socket_factory(loopback)
    make((2, 1, 6, "", ("127.0.0.1", 80))).close()
    with pytest.raises(AddressRefused):
        make((2, 1, 6, "", ("127.0.0.2", 80)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("HTTP://Example.ORG:80/a/../b?x=1#part", "http://example.org/b?x=1"),
        ("https://example.org:443", "https://example.org/"),
        ("http://example.org/a?utm_source=x&id=7&fbclid=1", "http://example.org/a?id=7"),
        ("http://example.org/a?utm_source=x", "http://example.org/a"),
        (" http://example.org/a b\n", "http://example.org/a%20b"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
    ],
)
def test_urls_are_written_one_way(given: str, expected: str) -> None:
    assert normalise(given) == expected
    assert normalise(expected) == expected


def test_urls_are_joined_to_a_base() -> None:
    assert normalise("../c.jpg", "http://a.example/x/y/z") == "http://a.example/x/c.jpg"
    assert normalise("//b.example/c", "https://a.example/") == "https://b.example/c"
    with pytest.raises(Refused, match="blocked_scheme"):
        normalise("ftp://a.example/", "http://a.example/")


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("http://a.example/x", "a.example", "http://a.example"),
        ("https://a.example.:8443/x/y", "a.example", "https://a.example.:8443"),
        ("http://[2001:db8::1]:80/x", "2001:db8::1", "http://[2001:db8::1]:80"),
    ],
)
def test_hosts_and_origins(url: str, host: str, origin: str) -> None:
    assert (host_of(url), origin_of(url)) == (host, origin)
    assert list(parents("a.b.example")) == ["a.b.example", "b.example", "example"]


@pytest.fixture
def listed(tmp_path: Path) -> hosts.HostList:
    folder = tmp_path / "adult"
    folder.mkdir()
    (folder / "domains").write_text("bad.example\nbücher.example\n")
    (folder / "urls").write_text("shared.example/~bad\nwww.half.example/x/\n")
    (folder / "usage").write_text("never.example\n")
    (folder / "expressions").write_text("# words\n(^|[-/])(naughty|rude)[0-9#]\n")
    lines = ["# a comment", "", "0.0.0.0 sink.example # why", "127.0.0.1 one.example two.example", "||ads.example^",
             "*.wild.example", "/[0-9]{9}/", "http://ported.example:8080/"]  # fmt: skip
    (tmp_path / "plain").write_text("\n".join(lines))
    return hosts.load([str(folder), str(tmp_path / "plain")])


@pytest.mark.parametrize(
    "url",
    ["http://bad.example/", "http://deep.in.bad.example/x", "http://bad.example./", "http://bad.example:81/",
     "http://xn--bcher-kva.example/", "http://shared.example/~bad", "http://shared.example/%7e%62ad",
     "http://shared.example/~bad/x.jpg",
     "http://www.shared.example/~bad/x.jpg", "http://sink.example/", "http://a.wild.example/", "http://x.example/123456789",
     "http://x.example/rude7", "http://one.example/", "http://two.example/", "http://ported.example/x"],
)  # fmt: skip
def test_listed_urls(listed: hosts.HostList, url: str) -> None:
    assert listed.matches(url)


@pytest.mark.parametrize(
    "url", ["http://notbad.example/", "http://example/", "http://shared.example/~badly", "http://shared.example/", "http://never.example/",
            "http://half.example/y", "http://x.example/12345678"],
)  # fmt: skip
def test_urls_that_are_not_listed(listed: hosts.HostList, url: str) -> None:
    assert not listed.matches(url)


def test_lists_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read the host list"):
        hosts.load([str(tmp_path / "absent")])
    (tmp_path / "bad").write_text("/(/\n")
    with pytest.raises(ValueError, match="pattern"):
        hosts.load([str(tmp_path / "bad")])
    assert not hosts.load([])


def take_turns(path: str, count: int, out: object) -> None:
    clock = HostClock(path)
    turns = list[tuple[float, float]]()  # each was taken between the two
    while len(turns) < count:
        before = time.time()
        if clock.take("a.example", 0.01):
            turns.append((time.time(), before))
    out.put(turns)  # type: ignore[attr-defined]


def test_turns_of_several_processes_never_meet(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    out = fork.Queue()
    workers = [fork.Process(target=take_turns, args=(str(tmp_path / "clock"), 50, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    turns = sorted(turn for _ in workers for turn in out.get())
    for worker in workers:
        worker.join()
    assert len(turns) == 150
    for (_, before), (after, before_too) in pairwise(turns):
        assert after - min(before, before_too) > 0.0099


def test_turns_can_be_held_and_absurd_ones_are_not_believed(tmp_path: Path) -> None:
    clock, now = HostClock(str(tmp_path / "clock")), time.time()
    clock.hold("a.example", now + 5)
    assert clock.free_at("a.example") == now + 5
    assert not clock.take("a.example", 1)
    assert clock.take("b.example", 1)
    assert not clock.take("b.example", 1)
    assert now + 1 <= clock.free_at("b.example") < now + 60
    clock.hold("c.example", now + 2 * FAR)
    assert clock.take("c.example", 1)
    clock.close()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Robots-Tag", "noai")], "x-robots-tag: noai"),
        ([("x-robots-tag", "all, NOINDEX")], "x-robots-tag: noindex"),
        ([("X-Robots-Tag", "none")], "x-robots-tag: noindex"),
        ([("X-Robots-Tag", "curate: noimageai")], "x-robots-tag: noimageai"),
        ([("X-Robots-Tag", "otherbot: noindex, curate: all")], None),
        ([("X-Robots-Tag", "otherbot: all"), ("X-Robots-Tag", "noindex")], "x-robots-tag: noindex"),
        ([("X-Robots-Tag", "unavailable_after: 25 Jun 2030 15:00:00 PST, noai")], "x-robots-tag: noai"),
        ([("X-Robots-Tag", "nosnippet")], None),
        ([("TDM-Reservation", "1")], "tdm-reservation: 1"),
        ([("TDM-Reservation", "0")], None),
        ([], None),
    ],
)
def test_wishes_in_headers(headers: list[tuple[str, str]], expected: str | None) -> None:
    assert opt_out(headers, (*OPT_OUTS, "tdm-reservation")) == expected
    assert opt_out(headers, ()) is None


def test_wishes_in_pages() -> None:
    everything = (*OPT_OUTS, "tdm-reservation")
    assert meta_opt_out({"robots": "index, noimageai"}, everything) == "meta robots: noimageai"
    assert meta_opt_out({"tdm-reservation": "1"}, everything) == "meta tdm-reservation: 1"
    assert meta_opt_out({"robots": "all", "description": "noai"}, everything) is None


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "rules"),
        (204, "rules"),
        (404, "none"),
        (403, "none"),
        (429, "unreachable"),
        (500, "unreachable"),
        (0, "unreachable"),
    ],
)
def test_robots_by_status(status: int, verdict: str) -> None:
    assert parse_robots(status, b"User-agent: *\nDisallow: /no\nCrawl-delay: 3").verdict == verdict


def test_robots_rules_and_delays() -> None:
    robots = parse_robots(200, b"User-agent: *\nDisallow: /no\nAllow: /no/but\nCrawl-delay: 3\nRequest-rate: 1/8")
    assert not robots.allows("http://a.example/no/x")
    assert robots.allows("http://a.example/no/but/this")
    assert robots.delay == 8
    assert parse_robots(404, b"").allows("http://a.example/no")
    assert parse_robots(404, b"").delay == 0


@pytest.mark.parametrize(
    "wrong",
    [{"robots": "maybe"}, {"robots_unreachable": "ask"}, {"rate": -1}, {"per_host": 0}, {"networks": ("10.0.0.0/99",)},
     {"contact": "a\r\nHost: b"}, {"contact": "ü@example.org"}, {"max_bytes": 0}],
)  # fmt: skip
def test_policies_that_cannot_be_meant(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "networks" not in wrong else "99"):
        CrawlPolicy(**wrong)


def test_the_agent_says_whom_to_turn_to() -> None:
    assert CrawlPolicy(contact="me@example.org").agent == "curate/0.1 (+me@example.org)"
    assert 0 < CrawlPolicy(rate=2).delay - 0.5 < 0.2

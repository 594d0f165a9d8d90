"""weights: a real server that cuts connections, hashes that do not fit, licences that nobody accepted."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from embedder.encoder import load_encoder
from embedder.official import export
from embedder.vit import VisionTransformer
from embedder.vit_config import VitConfig
from pipelines import weights, weights_download
from pipelines.config import Recipe, RecipeError, build
from pipelines.flow import network

DATA = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Sends at most `cut` bytes an answer, then closes. asked: the Range of every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cut, self.tag, self.status, self.asked = DATA, 100_000, '"one"', 200, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(asked[6:-1]) if asked and self.headers.get("If-Range") == server.tag else 0
        if start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("Content-Length", str(len(server.data) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.data[start : start + server.cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(weights_download, "WAIT", 0.001)
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


def official(monkeypatch, server, **change):
    own = replace(weights.OFFICIAL["mae_vit_base"], url=server.url, **{"md5": hashlib.md5(DATA).hexdigest()[:6]} | change)
    monkeypatch.setitem(weights.OFFICIAL, "mae_vit_base", own)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, monkeypatch):
    official(monkeypatch, server)
    path = weights.fetch("mae_vit_base", accepted=True)
    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    note = json.loads((weights.home() / "mae_vit_base.json").read_text())
    assert note["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert sorted(p.name for p in weights.home().iterdir()) == ["mae_pretrain_vit_base.pth", "mae_vit_base.json"]
    assert weights.fetch("mae_vit_base", accepted=True) == path
    assert len(server.asked) == 3  # what is here is not asked for again


def test_the_next_process_goes_on(server, monkeypatch):
    official(monkeypatch, server)
    server.cut = 0
    with pytest.raises(RecipeError, match="goes on from 0 bytes"):
        weights.fetch("mae_vit_base", accepted=True)
    partial = weights.home() / "mae_pretrain_vit_base.pth.partial"
    partial.write_bytes(DATA[:250_000])
    server.asked.clear()
    server.cut = 10**9
    assert weights.fetch("mae_vit_base", accepted=True).read_bytes() == DATA
    assert server.asked == ["bytes=250000-"]


def test_a_file_that_changed_meanwhile_is_begun_again(server, tmp_path):
    partial = tmp_path / "file.partial"
    partial.write_bytes(b"old" * 1000)
    partial.with_name("file.partial.tag").write_text('"old"')
    server.cut = 10**9
    weights_download.download(server.url, partial)
    assert partial.read_bytes() == DATA


def test_all_of_it_was_here(server, tmp_path):
    partial = tmp_path / "file.partial"
    partial.write_bytes(DATA)
    partial.with_name("file.partial.tag").write_text(server.tag)
    weights_download.download(server.url, partial)
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize("change", [{"md5": "000000"}, {"sha256": "deadbeef"}])
def test_another_file_is_refused_and_removed(server, monkeypatch, change):
    official(monkeypatch, server, **change)
    with pytest.raises(RecipeError, match="not the official file"):
        weights.fetch("mae_vit_base", accepted=True)
    assert list(weights.home().iterdir()) == []


def test_a_recorded_hash_is_asked_of_later_files(server, monkeypatch, tmp_path):
    official(monkeypatch, server, md5="")
    weights.fetch("mae_vit_base", accepted=True)
    other = tmp_path / "other.pth"
    other.write_bytes(b"another")
    with pytest.raises(RecipeError, match="not the official file"):
        weights.add("mae_vit_base", other, accepted=True)
    assert (weights.home() / "mae_pretrain_vit_base.pth").read_bytes() == DATA
    assert other.exists()


def test_what_the_authors_published_is_asked_whatever_came_first(server, monkeypatch, tmp_path):
    official(monkeypatch, server, md5="")
    server.cut = 10**9
    path = weights.fetch("mae_vit_base", accepted=True)
    official(monkeypatch, server, md5="", sha256="deadbeef")  # as in a later version, which knows the hash
    with pytest.raises(RecipeError, match=r"sha256 is .*, not deadbeef"):
        weights.add("mae_vit_base", path, accepted=True)


def test_a_name_that_carries_the_start_of_its_hash_is_held_to_it():
    carried = {w.name: re.search(r"-([0-9a-f]{8})\.pth$", w.file) for w in weights.OFFICIAL.values()}
    assert {name for name, found in carried.items() if found} == {name for name in carried if name.startswith("dinov3_")}
    assert all(weights.OFFICIAL[name].sha256 == found[1] for name, found in carried.items() if found)


def test_a_key_in_an_address_is_neither_kept_nor_shown(server, monkeypatch):
    official(monkeypatch, server)
    weights.fetch("mae_vit_base", accepted=True, url=server.url + "?Signature=mine")
    assert "mine" not in (weights.home() / "mae_vit_base.json").read_text()
    server.status = 403
    with pytest.raises(RecipeError, match="403") as error:
        weights_download.download(server.url + "?Signature=mine", weights.home() / "x")
    assert "mine" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "accepted", "message"),
    [("mae_vit_tiny", True, "no official"), ("mae_vit_base", False, "CC-BY-NC"), ("dinov3_vits16", True, "--url")],
)
def test_what_is_not_fetched(server, name, accepted, message):
    with pytest.raises(RecipeError, match=message):
        weights.fetch(name, accepted=accepted)
    assert server.asked == []


def test_a_server_that_stays_broken(server, tmp_path):
    server.status = 503
    with pytest.raises(RecipeError, match="503"):
        weights_download.download(server.url, tmp_path / "x")
    assert len(server.asked) == weights_download.TRIES


def test_an_added_file_is_found_by_its_name(server, tmp_path):
    bad = tmp_path / "sscd.pt"
    bad.write_bytes(b"not a checkpoint")
    kept = weights.add("sscd_disc_mixup", bad, accepted=True)
    with pytest.raises(ValueError, match=kept.name):  # found, and refused for what is in it
        load_encoder("sscd_disc_mixup")


@pytest.mark.parametrize(
    ("name", "vit"),
    [
        ("ijepa_vith14_1k", {"positions": "sincos", "layerscale": 0.0, "class_token": False, "pool": "mean", "patch": 14}),
        ("dinov2_vits14_reg", {"registers": 4, "patch": 14, "side": 518}),
    ],
)
def test_a_fetched_checkpoint_is_a_network_by_its_name(server, tmp_path, name, vit):
    tensors = export(VisionTransformer(VitConfig(depth=1, **vit)))
    wrapped = {"target_encoder": {f"module.{key}": value for key, value in tensors.items()}, "epoch": 1}
    torch.save(wrapped if name.startswith("ijepa") else tensors, tmp_path / "file")
    weights.add(name, tmp_path / "file", accepted=True)
    encoder = load_encoder(name)
    assert (encoder.name, encoder.dim, encoder.side) == (weights.OFFICIAL[name].file.split(".pth")[0], 192, 224)
    recipe = build(Recipe, {}, [f'embeddings.network="{name}"'])
    assert network(recipe.embeddings.network).digest == encoder.digest


def test_every_official_address_is_https_and_every_name_its_own():
    assert all(w.url.startswith("https://") or not w.url for w in weights.OFFICIAL.values())
    assert len({w.file for w in weights.OFFICIAL.values()}) == len(weights.OFFICIAL)

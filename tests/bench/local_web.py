"""A real nginx on fifty addresses of loopback, and the crawl that is sent there."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOSTS, PORT, RATE = 50, 18080, 20.0
NETWORK = 'crawl.networks=["127.0.0.0/8"]'
RUDE = ("crawl.robots=ignore", "crawl.rate=0", "crawl.per_host=256", "crawl.retries=0")  # as img2dataset has it

CONF = """
daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  log_format log '$msec $server_addr $status $request_uri'; access_log {root}/access.log log; log_not_found off;
  client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp; uwsgi_temp_path {root}/tmp;
  scgi_temp_path {root}/tmp; keepalive_requests 100000; sendfile on; default_type image/jpeg;
  server {{
    {listen}
    location = /robots.txt {{ return 200 "User-agent: *\\nDisallow: /private/\\n"; }}
    location /gone/ {{ return 404; }} location /forbidden/ {{ return 403; }} location /broken/ {{ return 500; }}
    location /busy/ {{ return 503; }} location /many/ {{ add_header Retry-After 1 always; return 429; }}
    location /dropped/ {{ return 444; }} location /page/ {{ return 200 "<html>no image</html>"; }}
    location /empty/ {{ return 200 ""; }} location /loop/ {{ return 302 $request_uri; }}
    location /private/ {{ return 302 http://10.0.0.1/; }}
    location /same/ {{ root {root}; try_files /same.jpg =404; }}
    location / {{ root {root}/files; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[Path]:
    """A server on all HOSTS addresses; yields its access log."""
    listen = " ".join(f"listen {address(n)}:{PORT} backlog=4096;" for n in range(HOSTS))
    (root / "tmp").mkdir(exist_ok=True)
    (root / "nginx.conf").write_text(CONF.format(root=root, listen=listen))
    root.chmod(0o755)
    (root / "tmp").chmod(0o777)
    server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(root / "nginx.conf"), "-p", str(root)])
    time.sleep(1)
    if server.poll() is not None:
        raise RuntimeError(f"nginx did not start; does another one listen on port {PORT}?")
    try:
        yield root / "access.log"
    finally:
        server.terminate()
        server.wait()


def address(host: int) -> str:
    return f"127.0.1.{host + 1}"


def crawl_command(root: Path, out: Path, *changes: str) -> list[str]:
    options = [text for change in (NETWORK, *changes) for text in ("--set", change)]
    return [sys.executable, "-m", "pipelines.cli", "crawl", str(root / "urls.parquet"), "--out", str(out),
            "--contact", "bench@example.org", "--workers", "2", *options]  # fmt: skip

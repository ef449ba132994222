"""The candidates: how each proxy is configured and started, as favourably to it as we know.

Proxies forward plain HTTP/1.1 to one upstream with kept-alive connections, hold nothing back, and write no access log
unless `logged`. The last two are AI gateways as ours is, and take part in the unified rows only. Each has its
configuration and data under a folder of its own; no system file is read or touched.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gateway.benchmark.calls import HOST, KEY, Target
from gateway.benchmark.start import MODELS, Started, gateway_command, unified


class Setup(NamedTuple):
    """What a candidate is to be: where it listens, where it forwards to, and in which variant."""

    folder: Path
    port: int
    upstream: int
    logged: bool = False
    workers: int = 1


def as_it_is(found: Started) -> Target:
    return found.target


class Candidate(NamedTuple):
    command: Callable[[Setup], list[str]]
    binary: str | None = None  # to be found on the PATH; None: our own
    prefix: str = ""  # before the vendor's path
    processes: bool = True  # whether its workers are processes, whose shares of the CPU can be told apart
    forwards: bool = True  # False: serves unified calls only
    head: str = ""  # more header lines that its requests need; {upstream}: the far side's port
    reencodes: bool = False  # its answers are not the vendor's bytes
    unified: Callable[[Started], Target] = as_it_is  # how unified calls reach it, once it runs

    def missing(self) -> bool:
        return self.binary is not None and find(self.binary) is None


def find(binary: str) -> str | None:
    """Where a program is: on the PATH, or for Node among the modules of NODE_PATH and of the current folder."""
    if binary.endswith(".js"):
        folders = [*os.environ.get("NODE_PATH", "").split(os.pathsep), "node_modules"]
        return next((str(path) for folder in folders if folder and (path := Path(folder) / binary).is_file()), None)
    return shutil.which(binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def gateway(setup: Setup) -> list[str]:
    log = f"file:{setup.folder / 'access.log'}" if setup.logged else "off"
    return gateway_command(setup.folder, setup.upstream, setup.port, log, setup.workers)


NGINX = """
daemon off; worker_processes {workers}; worker_rlimit_nofile 20000; pid {folder}/pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log {log};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_timeout 600; keepalive_requests 1000000000; client_max_body_size 0; tcp_nodelay on;
    upstream vendor {{
        server {host}:{upstream}; keepalive 2048; keepalive_requests 1000000000; keepalive_timeout 600;
    }}
    server {{
        listen {host}:{port} backlog=4096 {reuseport};
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host api.example.com;
        proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600; {buffers}
        location / {{ proxy_pass http://vendor; }}
        location /v1/realtime {{
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://vendor;
        }}
    }}
}}
"""


BUFFERS_64K = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;"


def nginx(setup: Setup, buffers: str = "") -> list[str]:
    config = setup.folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            folder=setup.folder, host=HOST, port=setup.port, upstream=setup.upstream, workers=setup.workers,
            log=setup.folder / "access.log" if setup.logged else "off", user="" if os.geteuid() else "user root;",
            reuseport="reuseport" if setup.workers > 1 else "", buffers=buffers,
        )
    )  # fmt: skip
    return [find("nginx") or "nginx", "-p", str(setup.folder), "-e", str(setup.folder / "error.log"), "-c", str(config)]


HAPROXY = """
global
    nbthread {workers}
    maxconn 9000
    {log}
defaults
    mode http
    {httplog}
    timeout connect 10s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s
    http-reuse always
    option http-no-delay
frontend edge
    bind {host}:{port} backlog 4096
    default_backend vendor
backend vendor
    server vendor {host}:{upstream} pool-max-conn -1 pool-purge-delay 600s
"""


def haproxy(setup: Setup) -> list[str]:
    config = setup.folder / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            host=HOST, port=setup.port, upstream=setup.upstream, workers=setup.workers,
            log="log stdout format raw local0" if setup.logged else "",
            httplog="option httplog\n    log global" if setup.logged else "",
        )
    )  # fmt: skip
    return [find("haproxy") or "haproxy", "-db", "-f", str(config)]


def envoy(setup: Setup) -> list[str]:
    def extension(name: str, kind: str, **fields: Any) -> dict[str, Any]:
        return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}}

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": HOST, "port_value": port}}

    log = extension(
        "envoy.access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        path=str(setup.folder / "access.log"),
    )
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        generate_request_id=False,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        access_log=[log] if setup.logged else [],
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router", dynamic_stats=False)],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "vendor", "timeout": "0s"}}]}]},
    )  # fmt: skip
    endpoint = {"endpoint": {"address": address(setup.upstream)}}
    limits = {"thresholds": [{"max_connections": 10000, "max_requests": 10000, "max_pending_requests": 10000}]}
    cluster = {
        "name": "vendor", "type": "STATIC", "connect_timeout": "10s", "circuit_breakers": limits,
        "load_assignment": {"cluster_name": "vendor", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }  # fmt: skip
    listener = {"name": "edge", "address": address(setup.port), "filter_chains": [{"filters": [manager]}]}
    config = setup.folder / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    options = ["--concurrency", str(setup.workers), "--disable-hot-restart", "--log-level", "error"]
    return [find("envoy") or "envoy", "-c", str(config), *options]


def litellm(setup: Setup) -> list[str]:
    """LiteLLM proxy, without a database: one key, no limits, nothing is charged."""
    config = setup.folder / "litellm.yaml"
    base = f"http://{HOST}:{setup.upstream}/v1"
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": base, "api_key": KEY}}
        for name in MODELS
    ]
    settings = {"model_list": models, "general_settings": {"master_key": KEY}, "litellm_settings": {"telemetry": False}}
    config.write_text(json.dumps(settings))
    environ = ["env", "LITELLM_LOG=ERROR", "LITELLM_LOCAL_MODEL_COST_MAP=True"]
    options = ["--config", str(config), "--host", HOST, "--port", str(setup.port), "--num_workers", str(setup.workers)]
    return [*environ, find("litellm") or "litellm", *options]


PORTKEY = "@portkey-ai/gateway/build/start-server.js"  # its command has the name of ours
PORTKEY_HEAD = f"X-Portkey-Provider: openai\r\nX-Portkey-Custom-Host: http://{HOST}:{{upstream}}/v1\r\n"


def portkey(setup: Setup) -> list[str]:
    """Portkey's gateway: each request says where it is to go; no keys of its own, no limits, nothing is charged."""
    return ["env", "NODE_ENV=production", "node", find(PORTKEY) or PORTKEY, f"--port={setup.port}", "--headless"]


CANDIDATES = {
    "gateway": Candidate(gateway, prefix="/bench", unified=unified),
    "nginx": Candidate(nginx, "nginx"),
    # Without buffering nginx reads one buffer at a time, by default of 4 KiB, which is dear for large bodies.
    "nginx-64k": Candidate(partial(nginx, buffers=BUFFERS_64K), "nginx"),
    "haproxy": Candidate(haproxy, "haproxy", processes=False),
    "envoy": Candidate(envoy, "envoy", processes=False),
    "litellm": Candidate(litellm, "litellm", forwards=False, reencodes=True),
    "portkey": Candidate(portkey, PORTKEY, forwards=False, reencodes=True, head=PORTKEY_HEAD),
}

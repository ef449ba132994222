"""What the sandbox says about itself, below `/_sandbox`; and vendors at their own paths, named by Host or header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from gateway.sandbox import images
from gateway.sandbox.call import CALLS
from gateway.sandbox.script import DIRECTIVES, PREFIX

# A vendor's host (or its last labels) and its id.
HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "dashscope.aliyuncs.com": "ali",
    "dashscope-intl.aliyuncs.com": "ali",
    "api.deepseek.com": "deepseek",
    "api.moonshot.cn": "moonshot",
    "api.moonshot.ai": "moonshot",
    "api.minimaxi.com": "minimax",
    "api.minimax.io": "minimax",
    "api.siliconflow.cn": "siliconflow",
    "api.siliconflow.com": "siliconflow",
    "open.bigmodel.cn": "zhipu",
    "api.z.ai": "zhipu",
    "ark.cn-beijing.volces.com": "bytedance",
    "openspeech.bytedance.com": "bytedance",
    "ark.ap-southeast.bytepluses.com": "byteplus",
    "api.hunyuan.cloud.tencent.com": "tencent",
    "hunyuan.tencentcloudapi.com": "tencent",
    "qianfan.baidubce.com": "baidu",
    "spark-api-open.xf-yun.com": "xunfei",
    "api.lingyiwanwu.com": "lingyi",
    "api.stepfun.com": "stepfun",
    "api.jina.ai": "jina",
    "api.cohere.com": "cohere",
}
VENDOR_HEADER = f"{PREFIX}vendor"


async def about(request: web.Request) -> web.StreamResponse:
    """The directives and the vendors, for programs."""
    directives = [{"name": name, "value": d.form, "does": d.does} for name, d in DIRECTIVES.items()]
    return web.json_response({"directives": directives, "vendors": sorted(set(HOSTS.values())), "hosts": HOSTS})


async def calls(request: web.Request) -> web.StreamResponse:
    counted = request.app[CALLS]
    rows = [{"vendor": vendor, "model": model, "calls": n} for (vendor, model), n in sorted(counted.items())]
    return web.json_response({"total": sum(counted.values()), "calls": rows})


async def forget_calls(request: web.Request) -> web.StreamResponse:
    request.app[CALLS].clear()
    return web.json_response({"total": 0, "calls": []})


def _not_found(request: web.Request) -> web.StreamResponse:
    value: dict[str, Any] = {
        "error": {
            "message": f"Invalid URL ({request.method} {request.path})",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    return web.json_response(value, status=404)


async def elsewhere(request: web.Request) -> web.StreamResponse:
    """A path that is no vendor's: the vendor that Host or header names is asked for it, once."""
    vendor = request.headers.get(VENDOR_HEADER) or HOSTS.get(request.host.partition(":")[0])
    if not vendor or request.path.startswith(f"/{vendor}/"):
        return _not_found(request)
    clone = request.clone(rel_url=f"/{vendor}{request.rel_url.raw_path_qs}")
    match = await request.app.router.resolve(clone)
    if match.http_exception is not None:
        return _not_found(request)
    match.add_app(request.app)
    match.freeze()
    # aiohttp has no public way to hand a request to another route.
    clone._match_info = match
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]] = match.handler
    return await handle(clone)


ROUTES = [
    web.get("/_sandbox", about),
    web.get("/_sandbox/calls", calls),
    web.delete("/_sandbox/calls", forget_calls),
    web.get("/_sandbox/files/{name}", images.file),
]
# Behind all vendors' routes: aiohttp takes the first that fits.
LAST = [web.route("*", "/{tail:.*}", elsewhere)]

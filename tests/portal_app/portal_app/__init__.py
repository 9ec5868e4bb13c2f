"""A small Pyramid application, served as the real one is: pserve, PasteDeploy, the rendered production.ini, waitress.

It answers
  /health         what the settings say of the versions, and which process answered
  /echo/...       path, method and headers as they came through nginx
  /large          a long JSON text
  /eat/BYTES      after it has taken so much memory
  /hold/NAME      only when somebody lets it: it makes the file NAME.begun in the folder PORTAL_HOLD and waits for
                  NAME.go there

With the file PORTAL_HOLD/start-PORT an application on that port does not get ready: it waits until the file is gone.
"""

import os
import time
from pathlib import Path

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable

PATIENCE = 60  # seconds; a test that forgot to let go must not keep a worker for ever


def application(global_conf, **settings):
    """What PasteDeploy calls for [app:app]."""
    port = global_conf["http_port"]
    wait_until(lambda: not (hold() / f"start-{port}").exists())
    settings["port"] = port
    # As the real application: no session secret, no start.
    settings["session.size"] = len(Path(settings["session.secret"]).read_bytes())
    config = Configurator(settings=settings)
    for name, view in {"health": health, "large": large}.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, renderer="json")
    for name, view in {"hold": held, "echo": echo, "eat": eat}.items():
        config.add_route(name, f"/{name}/*rest")
        config.add_view(view, route_name=name, renderer="json")
    return config.make_wsgi_app()


def memory_limit(app, global_conf, **settings):
    """What PasteDeploy calls for [filter:memlimit]; the stand-in limits nothing."""
    return app


def health(request):
    settings = request.registry.settings
    return {
        "status": "ok",
        "pid": os.getpid(),
        "port": settings["port"],
        "application_version": settings["encoded_version"],
        "image_version": settings["eb_app_version"],
        "namespace": settings["indexer.namespace"],
    }


def echo(request):
    return {
        "path": request.environ["PATH_INFO"],
        "method": request.method,
        "scheme": request.scheme,
        "headers": dict(request.headers),
        "pid": os.getpid(),
        "body": len(request.body),
    }


def large(request):
    return {"text": "all work and no play " * 5000}


def eat(request):
    (size,) = request.matchdict["rest"]
    return {"eaten": len(b"x" * int(size))}


def held(request):
    (name,) = request.matchdict["rest"]
    begun = hold() / f"{name}.begun"
    begun.with_suffix(".new").write_text(str(os.getpid()))
    begun.with_suffix(".new").rename(begun)
    if not wait_until((hold() / f"{name}.go").exists):
        raise HTTPServiceUnavailable(f"nobody let {name} go")
    return {"held": name, "pid": os.getpid()}


def hold():
    return Path(os.environ.get("PORTAL_HOLD", "/tmp"))


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True

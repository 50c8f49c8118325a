"""Logging in by name and password or by a one-time link, and logging out."""

from __future__ import annotations

import logging
import math
import threading
from datetime import datetime
from html import escape
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboards.context import Context
from dashboards.gate import content_policy
from dashboards.problems import ProblemRoute
from dashboards.session import same_origin
from dashboards.tries import Tries
from milepost.decisions import access

HASHING: Final = 2
"""Passwords checked at once: each takes 64 MiB and all of a core for a moment."""
HASHING_SECONDS: Final = 5
"""How long a log-in waits for its turn."""
_WRONG: Final = "Name or password is wrong."
_OLD_LINK: Final = "This link was used already, or is too old. Ask for a new one: milepost login-link NAME"

_log = logging.getLogger(__name__)


class Desk:
    """Where people log in."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tries = Tries()
        self._hashing = threading.BoundedSemaphore(HASHING)

    def by_token(self, request: Request, token: str, to: str) -> Response:
        now, address = self._context.clock(), _address(request)
        nobody = f"link {address}"
        if wait := self._tries.wait(nobody, address, now):
            return _busy(to, wait)
        with self._context.engine.begin() as connection:
            user = access.redeem_login(connection, token, now=now)
        if user is None:
            self._tries.failed(nobody, address, now)
            return page(to, _OLD_LINK, 401)
        return self._let_in(user.name, to)

    def by_password(self, request: Request, name: str, password: str, to: str) -> Response:
        now, address = self._context.clock(), _address(request)
        if wait := self._tries.wait(name, address, now):
            return _busy(to, wait)
        if not self._hashing.acquire(timeout=HASHING_SECONDS):
            return _busy(to, HASHING_SECONDS)
        try:
            with self._context.engine.begin() as connection:
                user = access.check_login(connection, name, password, now=now)
        finally:
            self._hashing.release()
        if user is None:
            self._failed(name, address, now)
            return page(to, _WRONG, 401)
        self._tries.passed(name, address)
        return self._let_in(user.name, to)

    def _failed(self, name: str, address: str | None, now: datetime) -> None:
        self._tries.failed(name, address, now)
        _log.info("a log-in failed, from %s", address)
        if self._tries.wait(name, address, now):
            with self._context.engine.begin() as connection:
                access.note_blocked_login(connection, name, address, now=now)

    def log_out(self, request: Request) -> Response:
        response = RedirectResponse("/login", 303, {"Clear-Site-Data": '"cache"'})
        if self.is_ours(request):
            sessions = self._context.sessions
            sessions.end(request.cookies)
            response.delete_cookie(sessions.cookie, path="/", secure=sessions.secure, httponly=True, samesite="lax")
        return response

    def is_in(self, request: Request) -> bool:
        return self._context.sessions.person(request.cookies) is not None

    def is_ours(self, request: Request) -> bool:
        return same_origin(request.headers, self._context.settings.public_url)

    def _let_in(self, name: str, to: str) -> Response:
        sessions = self._context.sessions
        response = RedirectResponse(local_path(to), 303)
        response.set_cookie(sessions.cookie, sessions.issue(name), **sessions.cookie_options())
        return response


def make_login(context: Context) -> APIRouter:
    """The routes /login and /logout."""
    router = APIRouter(include_in_schema=False, route_class=ProblemRoute)
    desk = Desk(context)

    @router.get("/login")
    def form(request: Request, token: str | None = None, next: str = "/") -> Response:
        if token:
            return desk.by_token(request, token, next)
        return RedirectResponse(local_path(next), 303) if desk.is_in(request) else page(next)

    @router.post("/login")
    def submit(
        request: Request,
        name: Annotated[str, Form(max_length=128)] = "",
        password: Annotated[str, Form(max_length=1024)] = "",
        next: Annotated[str, Form(max_length=2048)] = "/",
    ) -> Response:
        if not desk.is_ours(request):
            return page(next, "This form came from another site; try again here.", 403)
        return desk.by_password(request, name.strip(), password, next)

    @router.post("/logout")
    def logout(request: Request) -> Response:
        return desk.log_out(request)

    return router


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


def _busy(to: str, wait: float) -> Response:
    response = page(to, "Too many tries; wait a few minutes.", 429)
    response.headers["Retry-After"] = str(math.ceil(wait))
    return response


def local_path(target: str) -> str:
    """`target` if it is a path on this site, else the overview: a link must not lead people elsewhere."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if plain and target.isprintable() and "\\" not in target else "/"


def page(next_path: str = "/", error: str = "", status: int = 200) -> HTMLResponse:
    message = f'<p class="mp-login-error" role="alert">{escape(error)}</p>' if error else ""
    headers = {"Content-Security-Policy": content_policy(()), "Cache-Control": "no-store", "X-Frame-Options": "DENY"}
    return HTMLResponse(_PAGE.format(message=message, next=escape(local_path(next_path), quote=True)), status, headers)


_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · Milepost</title>
<link rel="icon" href="/assets/mark.svg" type="image/svg+xml">
<script src="/assets/scheme.js"></script>
<link rel="stylesheet" href="/assets/base.css">
<link rel="stylesheet" href="/assets/login.css">
</head>
<body class="mp-login">
<main class="mp-login-card">
<img src="/assets/mark.svg" width="44" height="44" alt="">
<h1>Milepost</h1>
<p class="mp-login-lead">Where every order is, and whether it will be on time.</p>
{message}
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label>Name<input name="name" autocomplete="username" required autofocus maxlength="128"></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required maxlength="1024"></label>
<button type="submit">Log in</button>
</form>
<p class="mp-login-foot">No password yet? <code>milepost login-link NAME</code> makes a link that lets you in once.</p>
</main>
</body>
</html>
"""

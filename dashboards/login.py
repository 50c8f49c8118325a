"""Logging in by name and password or by a one-time link, and logging out."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta
from html import escape
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboards.context import Context
from dashboards.gate import content_policy
from dashboards.problems import ProblemRoute
from dashboards.session import COOKIE, same_origin
from milepost.decisions import access

TRIES: Final = 10
TRY_WINDOW: Final = timedelta(minutes=5)
MAX_TRIES: Final = 10_000
_WRONG: Final = "Name or password is wrong."
_OLD_LINK: Final = "This link was used already, or is too old. Ask for a new one: milepost login-link NAME"


class Tries:
    """Failed log-ins by name, so that passwords can't be guessed at speed. Bounded, in this process only."""

    def __init__(self) -> None:
        self._failed: deque[tuple[datetime, str]] = deque(maxlen=MAX_TRIES)
        self._lock = threading.Lock()

    def too_many(self, name: str, now: datetime) -> bool:
        with self._lock:
            while self._failed and self._failed[0][0] < now - TRY_WINDOW:
                self._failed.popleft()
            return sum(1 for _, who in self._failed if who == name) >= TRIES

    def failed(self, name: str, now: datetime) -> None:
        with self._lock:
            self._failed.append((now, name))


class Desk:
    """Where people log in."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tries = Tries()

    def by_token(self, token: str, to: str) -> Response:
        with self._context.engine.begin() as connection:
            user = access.redeem_login(connection, token, now=self._context.clock())
        return self._let_in(user.name, to) if user else page(to, _OLD_LINK, 401)

    def by_password(self, name: str, password: str, to: str) -> Response:
        now = self._context.clock()
        if self._tries.too_many(name, now):
            return page(to, "Too many tries; wait five minutes.", 429)
        with self._context.engine.connect() as connection:
            user = access.check_login(connection, name, password)
        if user is None:
            self._tries.failed(name, now)
            return page(to, _WRONG, 401)
        return self._let_in(user.name, to)

    def is_in(self, request: Request) -> bool:
        return self._context.sessions.person(request.cookies.get(COOKIE)) is not None

    def is_ours(self, request: Request) -> bool:
        return same_origin(request.headers, self._context.settings.public_url)

    def _let_in(self, name: str, to: str) -> Response:
        sessions = self._context.sessions
        response = RedirectResponse(local_path(to), 303)
        response.set_cookie(COOKIE, sessions.issue(name), **sessions.cookie_options())
        return response


def make_login(context: Context) -> APIRouter:
    """The routes /login and /logout."""
    router = APIRouter(include_in_schema=False, route_class=ProblemRoute)
    desk = Desk(context)

    @router.get("/login")
    def form(request: Request, token: str | None = None, next: str = "/") -> Response:
        if token:
            return desk.by_token(token, next)
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
        return desk.by_password(name.strip(), password, next)

    @router.post("/logout")
    def logout(request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        if desk.is_ours(request):
            response.delete_cookie(COOKIE, path="/")
        return response

    return router


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

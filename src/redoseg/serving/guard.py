"""Who may ask: every request passes here first, and every answer has the headers that browsers keep to."""

import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redoseg.serving.limits import Rates, Refusal

COOKIE = "redoseg"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer. There is none that lets pages of others read it (CORS)."""


def refused(refusal: Refusal) -> Response:
    """The answer that says no: JSON, one line."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return JSONResponse({"error": refusal.text}, refusal.status, headers)


class Guard:
    """Lets through what comes from a page of this server's own or from no page at all, with the token, if
    there is one, and not too often.

    `hosts`: names by which the server may be asked for, in place of a token, since a page of somebody else's
    can have its own name lead here (DNS rebinding); None: any.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...] | None, rates: Rates
    ) -> None:
        self._app, self._token, self._hosts, self._rates = app, token, hosts, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            answer = self._check(scope)
        except Refusal as refusal:
            answer = refused(refusal)
        await (answer or self._app)(scope, receive, send_guarded)

    def _check(self, scope: Scope) -> Response | None:
        """None for a request that may go on. Refusal for one that mayn't."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise Refusal(403, f"this server is asked for by {' or '.join(self._hosts)}, not by another name")
        origin = headers.get("origin")
        if origin is not None and _place(origin) != host:
            raise Refusal(403, "pages of other servers can't ask this one")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] != "/":
            raise Refusal(403, "pages of other servers can't ask this one")
        if scope["path"].startswith("/api/"):
            self._rates.count(scope["client"][0] if scope.get("client") else "")
        return self._check_token(scope, headers)

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and self._is_token(given):
            # Kept by the browser from here on, and out of its history.
            answer = RedirectResponse("/", 303)
            # Not "strict": with that, a link to this page on another one would end without the cookie.
            answer.set_cookie(_cookie_of(scope), given, httponly=True, samesite="lax")
            return answer
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if (kind.lower() == "bearer" and self._is_token(bearer.strip())) or self._is_token(
            cookie_parser(headers.get("cookie", "")).get(_cookie_of(scope), "")
        ):
            return None
        raise Refusal(
            401, "the token is missing or wrong: open /?token=..., or send Authorization: Bearer ..."
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())


def _name(host: str) -> str:
    """A host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """The host and port of a page's origin; None for what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _cookie_of(scope: Scope) -> str:
    """The cookie's name. Cookies are one and the same for all ports of a host: each has its own."""
    return f"{COOKIE}-{scope['server'][1] if scope.get('server') else 0}"

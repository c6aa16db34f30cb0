"""`http_body`: sizes of request and response bodies on the SERVER span of ASGI and WSGI services.

It listens where the OpenTelemetry instrumentations make their spans. The request's size and, in
WSGI, the response's is what `Content-Length` says; in ASGI the response's bytes are counted.
Small responses are told by requests that are told in detail alone.
"""

from __future__ import annotations

import functools

from timesink_otel.probe import Probe

REQUEST = "http.request.body.size"
RESPONSE = "http.response.body.size"
# What TCP sends at once, before the client has to answer: ten segments (RFC 6928, section 2).
SMALL_BYTES_MAX = 14600
# Rules out nearly every other header, at less cost than its name in lower case.
_NAME_LENGTH = len("content-length")

_ASGI = "opentelemetry.instrumentation.asgi"
_WSGI = "opentelemetry.instrumentation.wsgi"
_DJANGO = "opentelemetry.instrumentation.django.middleware.otel_middleware"


class HttpBody(Probe):
    name = "http_body"

    def install(self):
        self.patches.when_imported(_ASGI, self._patch_asgi)
        self.patches.when_imported(_WSGI, self._patch_wsgi)
        self.patches.when_imported(_DJANGO, self._patch_django)

    def _patch_asgi(self, asgi):
        self.patches.replace(asgi, "collect_request_attributes", self._with_size_of(_of_scope))
        self.patches.replace(asgi.OpenTelemetryMiddleware, "_get_otel_send", self._counting)

    def _patch_wsgi(self, wsgi):
        self.patches.replace(wsgi, "collect_request_attributes", self._with_size_of(_of_environ))
        self.patches.replace(wsgi, "add_response_attributes", self._noting)

    def _patch_django(self, django):
        # Django's middleware has the functions of both under names of its own.
        for name, size in (("asgi", _of_scope), ("wsgi", _of_environ)):
            name += "_collect_request_attributes"
            self.patches.replace(django, name, self._with_size_of(size))
        self.patches.replace(django, "add_response_attributes", self._noting)

    def _with_size_of(self, size):
        """Adds the request's size to the attributes that the instrumentation collects."""

        def wrap(original):
            @functools.wraps(original)
            def collect(request, *args, **kwargs):
                attributes = original(request, *args, **kwargs)
                if self.on:
                    try:
                        number = _parse_size(size(request))
                        if number is not None:
                            attributes[REQUEST] = number
                    except Exception as error:
                        self.fail(error)
                return attributes

            return collect

        return wrap

    def _noting(self, original):
        @functools.wraps(original)
        def add(span, status, headers, *args, **kwargs):
            if self.on:
                try:
                    _note_length(span, headers)
                except Exception as error:
                    self.fail(error)
            return original(span, status, headers, *args, **kwargs)

        return add

    def _counting(self, original):
        @functools.wraps(original)
        def get_send(middleware, span, name, scope, send, *args, **kwargs):
            if self.on and scope.get("type") == "http":
                send = self._counted(send, span)
            return original(middleware, span, name, scope, send, *args, **kwargs)

        return get_send

    def _counted(self, send, span):
        """Returns `send` with a count; the instrumentation ends the span after the last message."""
        total = 0

        # No coroutine of its own: it hands on the one of `send`.
        def counted(message):
            nonlocal total
            if message.get("type") == "http.response.body" and self.on:
                try:
                    total += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        _set_response(span, total)
                except Exception as error:
                    self.fail(error)
            return send(message)

        return counted


def _set_response(span, size):
    if not span.is_recording():
        return
    # Without the mark, as before `install`, it is not known who tells.
    here = getattr(span, "_timesink_here", None)
    if SMALL_BYTES_MAX < size or here is None or here.tells_detail:
        span.set_attribute(RESPONSE, size)


def _note_length(span, headers):
    for name, value in headers:
        if len(name) == _NAME_LENGTH and name.lower() == "content-length":
            size = _parse_size(value)
            if size is not None:
                _set_response(span, size)


def _of_scope(scope):
    for name, value in scope.get("headers") or ():
        if len(name) == _NAME_LENGTH and name.lower() == b"content-length":
            return value
    return None


def _of_environ(environ):
    return environ.get("CONTENT_LENGTH")


def _parse_size(value):
    """Clients send what they like: what is no number is no size."""
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None

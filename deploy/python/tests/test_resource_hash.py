"""The hash of a resource is what it was, and is made once."""

from __future__ import annotations

import pytest
from opentelemetry.sdk import resources
from opentelemetry.sdk.resources import Resource

import timesink_otel


@pytest.fixture
def encodings(monkeypatch):
    """How often a resource was encoded."""
    encoded = []
    original = resources.dumps

    def dumps(*args, **kwargs):
        encoded.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(resources, "dumps", dumps)
    return encoded


def test_hash_is_what_it_was_and_is_made_once(recorded, encodings):
    resource = Resource({"service.name": "shop", "n": 1})
    before = hash(resource)
    timesink_otel.install(recorded.provider)
    try:
        del encodings[:]
        assert [hash(resource) for _ in range(3)] == 3 * [before]
        assert len(encodings) == 1
        assert hash(Resource({"service.name": "shop", "n": 1})) == before
        assert hash(Resource({"service.name": "shop", "n": 2})) != before
        assert {resource: 1}[Resource({"n": 1, "service.name": "shop"})] == 1
    finally:
        timesink_otel.uninstall()
    del encodings[:]
    assert [hash(resource) for _ in range(2)] == 2 * [before]
    assert len(encodings) == 2


def test_resource_that_cannot_remember_is_hashed_each_time(recorded, encodings):
    timesink_otel.install(recorded.provider)
    try:

        class Closed(Resource):
            def __setattr__(self, name, value):
                if name.startswith("_timesink"):
                    raise AttributeError(name)
                super().__setattr__(name, value)

        resource = Closed({"service.name": "shop"})
        assert hash(resource) == hash(resource) == hash(Resource({"service.name": "shop"}))
    finally:
        timesink_otel.uninstall()

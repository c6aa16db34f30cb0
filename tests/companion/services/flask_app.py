"""Flask: a page that turns many rows into JSON, and its twin with a page of them."""

import contextlib
import json

import psycopg2
from flask import Flask, Response, jsonify

from shop.settings import POSTGRES

app = Flask(__name__)


def lines(count):
    with (
        contextlib.closing(psycopg2.connect(POSTGRES)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id, item, amount, note FROM lines ORDER BY id LIMIT %s", (count,))
        return [dict(zip(("id", "item", "amount", "note"), row)) for row in cursor.fetchall()]


@app.get("/export/<int:order_id>")
def export(order_id):
    found = lines(15_000 + order_id * 600)
    body = json.dumps({"lines": found})  # SERIALIZES json
    return Response(body, mimetype="application/json")


@app.get("/jsonify/<int:order_id>")
def jsonified(order_id):
    found = lines(15_000 + order_id * 600)
    return jsonify(lines=found)  # SERIALIZES jsonify


@app.get("/page/<int:order_id>")
def page(order_id):
    return jsonify(lines=lines(30 + order_id))

"""Work for the processor: a loop in Python, a sort in C with a key in Python, JSON in C alone."""

import json

from shop.settings import millis

ITEMS = [{"id": n, "score": n * 7919 % 100_003, "name": "item %d" % n} for n in range(300_000)]
ROWS = [{"id": n, "name": "x" * 20, "tags": ["a", "b"]} for n in range(60_000)]


def total(order_id):
    price = 0.0
    for n in range(millis(order_id) * 14_000):  # BLOCKS cpu
        price += (n % 97) * 1.19  # BLOCKS cpu
    return price


def ranked(order_id):
    items = ITEMS[: millis(order_id) * 2200]
    ordered = sorted(items, key=lambda item: item["score"])  # BLOCKS sort
    return [item["id"] for item in ordered[:10]]


def exported(order_id):
    return json.dumps(ROWS[: millis(order_id) * 500])  # BLOCKS json

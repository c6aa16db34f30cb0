"""A client in a helper, as services have them: the line that calls is not the route's."""

import time

import requests

from shop.settings import rates_url

session = requests.Session()


def fetch(order_id):
    response = session.get(  # BLOCKS requests-helper
        rates_url(order_id),
        headers={"Accept": "application/json"},
        timeout=10,
    )
    response.raise_for_status()
    return response.json()


def retry(order_id, attempts=3):
    for attempt in range(attempts):
        if attempt == attempts - 1:
            return order_id
        time.sleep(0.02 + order_id % 5 * 0.004)  # BLOCKS retry

"""Where the shop's neighbours are, which `record.py` tells, and how long its work takes."""

import os

UPSTREAM = os.environ["UPSTREAM"]
POSTGRES = os.environ["POSTGRES"]
SQLITE = os.environ["SQLITE"]

CUSTOMER = "SELECT name, city FROM customers WHERE id = $1"
STOCK = "SELECT item, left_over FROM stock WHERE id = $1"
REPORT = (
    "SELECT customer, sum(amount) FROM lines WHERE id <= ? AND note LIKE '%42%'"
    " GROUP BY customer ORDER BY 2 DESC"
)


def millis(order_id):
    """40 to 120 ms, another for each order."""
    return 40 + order_id * 37 % 81


def rates_url(order_id):
    return "%s/rates/%d" % (UPSTREAM, millis(order_id))


def report_rows(order_id):
    """SQLite reads some 6,000 rows a millisecond."""
    return millis(order_id) * 6000

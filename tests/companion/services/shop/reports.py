"""sqlite3, from whichever thread calls."""

import contextlib
import sqlite3

from shop.settings import REPORT, SQLITE, report_rows


def best_customers(order_id):
    with contextlib.closing(sqlite3.connect(SQLITE)) as connection:
        cursor = connection.cursor()
        cursor.execute(REPORT, (report_rows(order_id),))  # BLOCKS sqlite-helper
        return cursor.fetchmany(3)

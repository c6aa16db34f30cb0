"""psycopg2, the blocking driver: a connection for each thread."""

import threading

import psycopg2

from shop.settings import POSTGRES, millis

_own = threading.local()


def connection():
    if not hasattr(_own, "connection"):
        _own.connection = psycopg2.connect(POSTGRES)
        _own.connection.autocommit = True
    return _own.connection


def slow_query(order_id):
    with connection().cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", (millis(order_id) / 1000,))  # BLOCKS psycopg2-helper
        return cursor.fetchone()

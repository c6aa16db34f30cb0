"""Three queries, a wait of 3 ms, a small JSON response, as a view of Django under WSGI.

The module is the settings too.
"""

import os
import time

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import JsonResponse
from django.urls import path
from shop import QUERIES, SCHEMA

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DATABASE"],
        "CONN_MAX_AGE": None,
    }
}


def application():
    wsgi = get_wsgi_application()
    connection.ensure_connection()
    connection.connection.executescript(SCHEMA)
    connection.close()
    return wsgi


def order(request, number):
    customer, items, total = [query(sql, number) for sql in QUERIES]
    time.sleep(0.003)
    return JsonResponse(
        {
            "id": number,
            "customer": customer[0][0],
            "items": [name for (name,) in items],
            "total": total[0][0],
        }
    )


def query(sql, number):
    with connection.cursor() as cursor:
        return cursor.execute(sql.replace("?", "%s"), (number % 100,)).fetchall()


urlpatterns = [path("orders/<int:number>", order)]

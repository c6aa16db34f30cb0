"""Django under ASGI: one view that blocks the loop, and three that do not."""

import asyncio
import time

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path


async def blocking(request):
    time.sleep(0.06)  # blocking
    return HttpResponse("blocking")


async def waiting(request):
    await asyncio.sleep(0.06)
    return HttpResponse("waiting")


async def in_thread(request):
    await sync_to_async(time.sleep)(0.06)
    return HttpResponse("in_thread")


def sync(request):
    time.sleep(0.06)
    return HttpResponse("sync")


VIEWS = {"blocking": blocking, "waiting": waiting, "in_thread": in_thread, "sync": sync}
urlpatterns = [path(name, view) for name, view in VIEWS.items()]
application = get_asgi_application()

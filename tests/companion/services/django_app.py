"""Django: many rows as JSON, by REST framework and by hand, and a twin with a page of them."""

from django.core.wsgi import get_wsgi_application
from django.db import models
from django.http import JsonResponse
from django.urls import path

application = get_wsgi_application()

from rest_framework import generics, serializers  # noqa: E402  (needs the settings)


class Line(models.Model):
    item = models.TextField()
    amount = models.IntegerField()
    note = models.TextField()

    class Meta:
        app_label = "shop"
        db_table = "lines"
        managed = False


class LineSerializer(serializers.ModelSerializer):
    class Meta:
        model = Line
        fields = ["id", "item", "amount", "note"]


class Lines(generics.ListAPIView):
    serializer_class = LineSerializer

    def get_queryset(self):
        return Line.objects.order_by("id")[: 1500 + self.kwargs["order_id"] * 40]


class FewLines(Lines):
    def get_queryset(self):
        return Line.objects.order_by("id")[:30]


def export(request, order_id):
    found = list(Line.objects.order_by("id").values()[: 10_000 + order_id * 400])
    return JsonResponse({"lines": found})  # SERIALIZES json_response


urlpatterns = [
    path("lines/<int:order_id>", Lines.as_view()),
    path("few_lines/<int:order_id>", FewLines.as_view()),
    path("export/<int:order_id>", export),
]

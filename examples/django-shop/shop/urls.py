from django.urls import path

from shop import views

urlpatterns = [
    path("orders/recent", views.recent_orders),
    path("orders/recent/fixed", views.recent_orders_fixed),
]

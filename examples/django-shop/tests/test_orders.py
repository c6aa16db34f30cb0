import pytest

from shop.models import Customer, Order


@pytest.fixture
def orders(db):
    customers = Customer.objects.bulk_create(Customer(name=f"customer {i}") for i in range(40))
    Order.objects.bulk_create(
        Order(customer=customer, total_cents=100 + i) for i, customer in enumerate(customers)
    )


def test_recent_orders_page(client, orders):
    page = client.get("/orders/recent").json()
    assert len(page["orders"]) == 30
    assert page["orders"][0] == {"customer": "customer 39", "total_cents": 139}


def test_recent_orders_page_fixed(client, orders):
    page = client.get("/orders/recent/fixed").json()
    assert len(page["orders"]) == 30
    assert page["orders"][0] == {"customer": "customer 39", "total_cents": 139}

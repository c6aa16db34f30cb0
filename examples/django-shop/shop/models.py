from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=80)


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE)
    total_cents = models.IntegerField()
    placed_at = models.DateTimeField(auto_now_add=True)

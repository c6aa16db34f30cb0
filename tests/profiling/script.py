"""A job for the profilers of lines: both take the functions with `@profile`."""

from shop import ORDERS, Order, hot_loop, pack

try:
    profile
except NameError:  # neither of them runs it

    def profile(function):
        return function


@profile
def build_report():
    total = hot_loop(4_000_000)
    ORDERS.append(Order(bytearray(30_000_000)))
    return total, pack()


if __name__ == "__main__":
    build_report()

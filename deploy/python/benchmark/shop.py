"""The data and the queries of both services."""

SCHEMA = """
create table customers (id integer primary key, name text);
create table items (id integer primary key, customer integer, name text, price real);
create index items_of_customer on items (customer);
with recursive n(i) as (select 0 union all select i + 1 from n where i < 99)
insert into customers select i, 'customer ' || i from n;
with recursive n(i) as (select 0 union all select i + 1 from n where i < 999)
insert into items select i, i % 100, 'item ' || i, i / 10.0 from n;
"""

QUERIES = (
    "select name from customers where id = ?",
    "select name from items where customer = ? order by id",
    "select sum(price) from items where customer = ?",
)

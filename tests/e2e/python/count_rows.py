"""Counts the rows of a Delta table with engines that are not ours.

`count_rows.py FOLDER COLUMN...` prints one line of JSON: rows, distinct values of the columns
together, and the rows with the least and with the greatest value of the first column, by engine.
"""

import json
import sys

import deltalake
import duckdb
import polars

folder, *columns = sys.argv[1:]
table = deltalake.DeltaTable(folder)
files = table.file_uris()
first = columns[0]
# DuckDB's extension for Delta is not in its package: it reads the files that are live.
rows, distinct = duckdb.execute(
    f"SELECT count(*), count(DISTINCT ({', '.join(columns)},)) FROM read_parquet(?)", [files]
).fetchone()
ends = duckdb.execute(f"SELECT min({first}), max({first}) FROM read_parquet(?)", [files]).fetchone()
frame = polars.read_delta(folder)


def in_duckdb(value):
    # The value is written out: statistics and bloom filters rule row groups out by it.
    query = f"SELECT count(*) FROM read_parquet(?) WHERE {first} = '{value}'"
    return duckdb.execute(query, [files]).fetchone()[0]


def in_polars(value):
    return polars.scan_delta(folder).filter(polars.col(first) == value).collect().height


print(
    json.dumps(
        {
            "deltalake": sum(table.get_add_actions(flatten=True)["num_records"].to_pylist()),
            "duckdb": rows,
            "duckdb_distinct": distinct,
            "duckdb_ends": [in_duckdb(value) for value in ends],
            "polars": frame.height,
            "polars_distinct": frame.select(columns).unique().height,
            "polars_ends": [in_polars(value) for value in ends],
        }
    )
)

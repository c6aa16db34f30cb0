"""Counts the rows of a Delta table with engines that are not ours.

`count_rows.py FOLDER COLUMN...` prints one line of JSON: rows, and distinct values of the columns
together, by engine.
"""

import json
import sys

import deltalake
import duckdb
import polars

folder, *columns = sys.argv[1:]
table = deltalake.DeltaTable(folder)
files = table.file_uris()
# DuckDB's extension for Delta is not in its package: it reads the files that are live.
rows, distinct = duckdb.execute(
    f"SELECT count(*), count(DISTINCT ({', '.join(columns)},)) FROM read_parquet(?)", [files]
).fetchone()
frame = polars.read_delta(folder)
print(
    json.dumps(
        {
            "deltalake": sum(table.get_add_actions(flatten=True)["num_records"].to_pylist()),
            "duckdb": rows,
            "duckdb_distinct": distinct,
            "polars": frame.height,
            "polars_distinct": frame.select(columns).unique().height,
        }
    )
)

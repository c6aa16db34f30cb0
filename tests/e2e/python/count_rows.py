"""Counts the rows of a Delta table with engines that are not ours.

`count_rows.py FOLDER` prints one line of JSON: rows and distinct span ids by engine.
"""

import json
import sys

import deltalake
import duckdb
import polars

table = deltalake.DeltaTable(sys.argv[1])
files = table.file_uris()
# DuckDB's extension for Delta is not in its package: it reads the files that are live.
rows, ids = duckdb.execute(
    "SELECT count(*), count(DISTINCT trace_id || span_id) FROM read_parquet(?)", [files]
).fetchone()
frame = polars.read_delta(sys.argv[1])
print(
    json.dumps(
        {
            "deltalake": sum(table.get_add_actions(flatten=True)["num_records"].to_pylist()),
            "duckdb": rows,
            "duckdb_ids": ids,
            "polars": frame.height,
            "polars_ids": frame.select("trace_id", "span_id").unique().height,
        }
    )
)

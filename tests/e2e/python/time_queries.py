"""Times queries over Parquet files with DuckDB, one at a time.

The first line of the input is the JSON of `{"files", "threads"}`, every further one that of a
query. Each query is run once and answered by a line: `[MS, ROWS]`, how long it took and found.
"""

import json
import sys
import time

import duckdb

asked = json.loads(sys.stdin.readline())
connection = duckdb.connect(config={"threads": asked["threads"]})
listed = ", ".join("'" + name.replace("'", "''") + "'" for name in asked["files"])
connection.execute(f"CREATE VIEW spans AS SELECT * FROM read_parquet([{listed}])")
for line in sys.stdin:
    query = json.loads(line)
    began = time.perf_counter()
    rows = len(connection.execute(query).fetchall())
    print(json.dumps([(time.perf_counter() - began) * 1000, rows]), flush=True)

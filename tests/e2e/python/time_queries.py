"""Times queries over Parquet files with DuckDB.

`time_queries.py FILE` reads `{"files", "threads", "runs", "queries"}` and prints one line of JSON:
the median of the runs, ms, by the name of the query, after one run that makes the files warm.
"""

import json
import statistics
import sys
import time

import duckdb

with open(sys.argv[1]) as file:
    asked = json.load(file)
connection = duckdb.connect(config={"threads": asked["threads"]})
listed = ", ".join("'" + name.replace("'", "''") + "'" for name in asked["files"])
connection.execute(f"CREATE VIEW spans AS SELECT * FROM read_parquet([{listed}])")
medians = {}
for name, query in asked["queries"].items():
    times = []
    for _ in range(asked["runs"] + 1):
        began = time.perf_counter()
        connection.execute(query).fetchall()
        times.append((time.perf_counter() - began) * 1000)
    medians[name] = statistics.median(times[1:])
print(json.dumps(medians))

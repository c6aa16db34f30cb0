//! Which language a database speaks, and how it quotes.

/// How a database quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `"name"`, `'text'`, `E'te\'xt'`, `$tag$text$tag$`. Also of the databases that keep to the
    /// standard.
    PostgreSql,
    /// `` `name` ``, `"text"`, `'te\'xt'`, `# comment`. Also of Spark, `BigQuery`, Cypher.
    MySql,
    /// `"name"`, `[name]`, `` `name` ``, and `"text"` where no column has that name.
    Sqlite,
    /// `"name"`, `q'[text]'`.
    Oracle,
    /// `[name]`, `"name"`, `N'text'`.
    SqlServer,
    /// Not known: whatever could be a literal is one.
    Other,
}

impl Dialect {
    /// Returns the dialect of a `db.system.name` or `db.system`, of the old and the new
    /// conventions.
    pub fn of_db_system(name: Option<&str>) -> Self {
        match Language::of(name) {
            Some(Language::Sql(dialect)) => dialect,
            _ => Self::Other,
        }
    }
}

/// What the statements of a database are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Sql(Dialect),
    Redis,
    Memcached,
    /// JSON, Python's `repr` of it, or a call in the `MongoDB` shell.
    Document,
}

impl Language {
    /// Returns the language, `None` for a system that is not in the table.
    pub(super) fn of(name: Option<&str>) -> Option<Self> {
        let mut lower = [0; NAME_BYTES_MAX];
        let name = name?.trim().as_bytes();
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Self::of_lower(std::str::from_utf8(lower).ok()?)
    }

    /// Knows the names of the semantic conventions, of `SQLAlchemy`'s dialects and of Django.
    #[rustfmt::skip]
    fn of_lower(name: &str) -> Option<Self> {
        Some(match name {
            "postgresql" | "postgres" | "actian.ingres" | "aws.redshift" | "cassandra"
            | "cockroachdb" | "crate" | "db2" | "derby" | "duckdb" | "edb" | "exasol"
            | "firebird" | "firebirdsql" | "greenplum" | "h2" | "h2database" | "hanadb"
            | "hsqldb" | "ibm.db2" | "ibm.informix" | "ibm.netezza" | "ibm_db_sa" | "informix"
            | "ingres" | "interbase" | "materialize" | "monetdb" | "netezza" | "presto"
            | "questdb" | "redshift" | "risingwave" | "sap.hana" | "sap.maxdb"
            | "softwareag.adabas" | "teradata" | "timescaledb" | "trino" | "vertica"
            | "yugabytedb" => Self::Sql(Dialect::PostgreSql),
            "mysql" | "mariadb" | "aurora" | "bigquery" | "couchbase" | "databricks"
            | "gcp.bigquery" | "gcp.spanner" | "hive" | "impala" | "neo4j" | "percona"
            | "singlestore" | "memsql" | "spanner" | "spark" | "tidb" => Self::Sql(Dialect::MySql),
            "sqlite" | "sqlite3" | "libsql" => Self::Sql(Dialect::Sqlite),
            "oracle" | "oracle.db" => Self::Sql(Dialect::Oracle),
            "mssql" | "microsoft.sql_server" | "microsoft" | "mssqlcompact" | "sqlserver"
            | "sybase" | "sap.ase" => Self::Sql(Dialect::SqlServer),
            "other_sql" | "snowflake" | "clickhouse" | "clickhousedb" | "influxdb" | "cache"
                => Self::Sql(Dialect::Other),
            "redis" | "valkey" | "keydb" | "dragonfly" | "aws.elasticache" => Self::Redis,
            "memcached" => Self::Memcached,
            "mongodb" | "elasticsearch" | "opensearch" | "couchdb" | "dynamodb" | "aws.dynamodb"
            | "cosmosdb" | "azure.cosmosdb" | "documentdb" | "solr" => Self::Document,
            _ => return None,
        })
    }
}

/// No name of a system is longer.
const NAME_BYTES_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_conventions_mean_one_dialect() {
        let check = |names: &[&str], expected| {
            for name in names {
                assert_eq!(Dialect::of_db_system(Some(name)), expected, "{name}");
            }
        };
        check(&["postgresql", "PostgreSQL", "cockroachdb"], Dialect::PostgreSql);
        check(&["mysql", "mariadb"], Dialect::MySql);
        check(&["sqlite"], Dialect::Sqlite);
        check(&["oracle", "oracle.db"], Dialect::Oracle);
        check(&["mssql", "microsoft.sql_server"], Dialect::SqlServer);
        check(&["other_sql", "redis", "", "never heard of"], Dialect::Other);
        assert_eq!(Dialect::of_db_system(None), Dialect::Other);
    }
}

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
        let name = name?.trim();
        let known = |(names, language): &(&str, Self)| {
            let mut names = names.split_ascii_whitespace();
            names.any(|known| known.eq_ignore_ascii_case(name)).then_some(*language)
        };
        SYSTEMS.iter().find_map(known)
    }
}

/// By the names of the semantic conventions, of `SQLAlchemy`'s dialects and of Django's vendors.
const SYSTEMS: &[(&str, Language)] = &[
    (
        "postgresql postgres actian.ingres aws.redshift cassandra cockroachdb crate db2 derby \
         duckdb edb exasol firebird firebirdsql greenplum h2 h2database hanadb hsqldb ibm.db2 \
         ibm.informix ibm.netezza ibm_db_sa informix ingres interbase materialize monetdb netezza \
         presto questdb redshift risingwave sap.hana sap.maxdb softwareag.adabas teradata \
         timescaledb trino vertica yugabytedb",
        Language::Sql(Dialect::PostgreSql),
    ),
    (
        "mysql mariadb aurora bigquery couchbase databricks gcp.bigquery gcp.spanner hive impala \
         neo4j percona singlestore memsql spanner spark tidb",
        Language::Sql(Dialect::MySql),
    ),
    ("sqlite sqlite3 libsql", Language::Sql(Dialect::Sqlite)),
    ("oracle oracle.db", Language::Sql(Dialect::Oracle)),
    (
        "mssql microsoft.sql_server microsoft mssqlcompact sqlserver sybase sap.ase",
        Language::Sql(Dialect::SqlServer),
    ),
    ("other_sql snowflake clickhouse clickhousedb influxdb cache", Language::Sql(Dialect::Other)),
    ("redis valkey keydb dragonfly aws.elasticache", Language::Redis),
    ("memcached", Language::Memcached),
    (
        "mongodb elasticsearch opensearch couchdb dynamodb aws.dynamodb cosmosdb azure.cosmosdb \
         documentdb solr",
        Language::Document,
    ),
];

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

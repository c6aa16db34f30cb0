//! The words of SQL that are written in capitals, and what some of them say about what follows.
//!
//! A word is in the table when it gives a statement its structure and seldom names a column: a
//! column that is in it is shown in capitals, which is ugly and nothing worse.

/// What a keyword means to the lexer and the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing but a keyword.
    Plain,
    /// Ends an expression, so that a minus after it subtracts.
    Operand,
    /// Capitals only before an opening parenthesis.
    Function,
    /// No keyword, but a word whose letter case means nothing: of a type or a unit.
    Name,
    /// A list of any length follows, also in place of a placeholder.
    In,
    /// A list of any length may follow.
    Any,
    Values,
    Row,
    Array,
    Case,
    When,
    Else,
    End,
    Is,
    Not,
    Set,
    Null,
    Boolean,
    Select,
    From,
    Into,
    As,
    /// A comparison like `=`.
    Compares,
    Escape,
    /// The name after it is data: of a savepoint, or a password.
    HidesName,
    Returning,
    /// KEY is a keyword after it.
    Keyed,
    Key,
    With,
    Join,
    Insert,
    Delete,
    Update,
    /// Stands between FROM and a table.
    Lateral,
    /// Brings further tables, or the columns of a join.
    Using,
    On,
    /// Ends the tables of a query.
    Clause,
    /// UPDATE after it is not a command.
    For,
    /// Makes, changes or drops what an [`Role::Object`] names.
    Define,
    Object,
    If,
    Exists,
    Call,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keyword {
    /// In capitals.
    pub(super) text: &'static str,
    pub(super) role: Role,
}

/// Returns the keyword that `word` is, in any letter case.
pub(super) fn keyword(word: &str) -> Option<&'static Keyword> {
    if word.len() > KEYWORD_BYTES_MAX {
        return None;
    }
    let mut slot = hash(word.as_bytes());
    loop {
        let keyword = &KEYWORDS[usize::from(SLOTS[slot].checked_sub(1)?)];
        if keyword.text.eq_ignore_ascii_case(word) {
            return Some(keyword);
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

const KEYWORD_BYTES_MAX: usize = 19;
const SLOT_COUNT: usize = 1024;

/// An open hash table: 0 is free, else the index of a keyword plus one.
static SLOTS: [u16; SLOT_COUNT] = {
    let mut slots = [0; SLOT_COUNT];
    let mut at = 0;
    while at < KEYWORDS.len() {
        let text = KEYWORDS[at].text.as_bytes();
        assert!(text.len() <= KEYWORD_BYTES_MAX);
        let mut slot = hash(text);
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOT_COUNT;
        }
        at += 1;
        slots[slot] = at as u16;
    }
    slots
};

/// Hashes letters without their case.
const fn hash(word: &[u8]) -> usize {
    let mut hash = word.len() as u32;
    let mut at = 0;
    while at < word.len() {
        hash = hash.wrapping_mul(0x0100_0193) ^ (word[at] & 0xdf) as u32;
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize % SLOT_COUNT
}

macro_rules! keywords {
    ($($role:ident: $($text:ident)*;)*) => {
        const TEXTS: &[&str] = &[$($(stringify!($text)),*),*];

        static KEYWORDS: [Keyword; TEXTS.len()] =
            [$($(Keyword { text: stringify!($text), role: Role::$role }),*),*];
    };
}

keywords! {
    Plain: ADD AFTER ANALYZE AND APPLY ASC ASYMMETRIC ATOMIC AUTHORIZATION BEFORE BEGIN BETWEEN
        BOTH BY CASCADE CATCH CHECK CLOSE COLLATE COLUMN COMMIT COMMITTED CONFLICT CONSTRAINT
        CROSS CUBE CURRENT CURSOR CYCLE DEALLOCATE DECLARE DEFAULT DEFERRED DELAYED DESC DESCRIBE
        DISCARD DISTINCT DISTINCTROW DO EACH ELSEIF ELSIF EXCEPTION EXCLUDE EXPLAIN FILTER FIRST
        FOLLOWING FORCE FULL GRANT GROUPING GROUPS HANDLER HOLD IGNORE IMMEDIATE INNER INTERVAL
        ISOLATION LEADING LEAVE LEFT LISTEN LOCK LOCKED LOOP MATCHED MATERIALIZED MAXVALUE
        MINVALUE MODIFY NATURAL NEXT NO NOTHING NOTIFY NOWAIT NULLS OF OPEN OR ORDINALITY OTHERS
        OUT OUTER OVER OVERLAPS OVERLAY PARTITION PIVOT PRAGMA PRECEDING PREPARE PRIOR RAISE
        RECURSIVE REFERENCES REINDEX RELEASE RENAME REPEATABLE REPLACE REPLICA RESET RESTRICT
        RETURN RETURNS REVOKE RIGHT ROLLBACK ROLLUP ROWS SEPARATOR SERIALIZABLE SHARE SHOW
        SIBLINGS SIGNED SKIP SQL_CALC_FOUND_ROWS SQL_NO_CACHE START STRAIGHT_JOIN SYMMETRIC
        TABLESAMPLE TEMP TEMPORARY THEN THROW TIES TO TOP TRAILING TRANSACTION TRY UNBOUNDED
        UNCOMMITTED UNLISTEN UNLOCK UNPIVOT UNSIGNED UPSERT USE VACUUM WHILE WITHIN WITHOUT WORK
        XOR;
    Operand: CURRENT_CATALOG CURRENT_DATE CURRENT_ROLE CURRENT_SCHEMA CURRENT_TIME
        CURRENT_TIMESTAMP CURRENT_USER LOCALTIME LOCALTIMESTAMP ROWNUM SESSION_USER SYSDATE
        SYSTIMESTAMP UTC_DATE UTC_TIMESTAMP;
    Function: ABS ADD_MONTHS ARRAY_AGG AVG BIT_AND BIT_OR BOOL_AND BOOL_OR CAST CEIL CEILING
        CHAR_LENGTH COALESCE CONCAT CONCAT_WS CONVERT COUNT CUME_DIST CURDATE CURTIME DATEADD
        DATEDIFF DATE_ADD DATE_FORMAT DATE_PART DATE_SUB DATE_TRUNC DAY DECODE DENSE_RANK EVERY
        EXTRACT FIRST_VALUE FLOOR FORMAT GETDATE GETUTCDATE GREATEST GROUP_CONCAT HOUR IFNULL IIF
        ISNULL JSONB_AGG JSON_AGG JSON_ARRAYAGG JSON_EXTRACT JSON_OBJECT JSON_OBJECTAGG JSON_VALUE
        LAG LAST_VALUE LCASE LEAD LEAST LENGTH LISTAGG LOWER LPAD LTRIM MAX MIN MINUTE MOD MONTH
        NEXTVAL NOW NTH_VALUE NTILE NULLIF NVL PERCENTILE_CONT PERCENT_RANK POSITION POWER RANDOM
        RANK ROUND ROW_NUMBER RPAD RTRIM SECOND SETVAL SQRT STDDEV STRFTIME STRING_AGG SUBSTR
        SUBSTRING SUM SYSDATETIME TO_CHAR TO_DATE TO_NUMBER TO_TIMESTAMP TRIM TRUNC TRY_CAST
        TRY_CONVERT UCASE UNNEST UPPER VARIANCE YEAR;
    Name: ALWAYS AUTO_INCREMENT BACKWARD BERNOULLI BIGINT BINARY BIT BLOB BOOL BOOLEAN BYTEA CHAR
        CHARACTER CHARSET CLOB CLONE COLUMNS COMMENT CONTINUE DATE DATETIME DATETIME2 DAYS DECIMAL
        DIMENSION DOMAIN DOUBLE DOW DOY DUAL ENGINE ENUM EPOCH EXIT EXTENSION EXTERNAL FLOAT
        FLOAT4 FLOAT8 FORWARD FOUND GENERATED GLOBAL GOTO HOURS IDENTITY INT INT2 INT4 INT8
        INTEGER JSON JSONB KEYS LANGUAGE LEVEL LOCAL LONGTEXT MEASURES MEDIUMINT MEDIUMTEXT
        MICROSECOND MICROSECONDS MILLISECONDS MINUTES MODEL MONEY MONTHS NCHAR NOLOCK NUMBER
        NUMERIC NVARCHAR NVARCHAR2 OBJECT ONLINE OPTION PASSWORD PLPGSQL PRECISION QUARTER READ
        REAL ROLE ROWID ROWLOCK RULES SCROLL SECONDS SERIAL SMALLINT STORED STRING SYSTEM TABLES
        TEXT TIME TIMESTAMP TIMESTAMPTZ TINYINT TINYTEXT TYPE UNLOGGED USER UUID VARBINARY VARCHAR
        VARCHAR2 VARYING VIRTUAL WEEK WEEKS WRITE XML YEARS ZONE;
    In: IN;
    Any: ALL ANY SOME;
    Values: VALUES;
    Row: ROW;
    Array: ARRAY;
    Case: CASE;
    When: WHEN;
    Else: ELSE;
    End: END;
    Is: IS;
    Not: NOT;
    Set: SET;
    Null: NULL;
    Boolean: FALSE TRUE;
    Select: SELECT;
    From: FROM;
    Into: INTO;
    As: AS;
    Compares: GLOB ILIKE LIKE MATCH REGEXP RLIKE SIMILAR;
    Escape: ESCAPE;
    HidesName: IDENTIFIED SAVEPOINT;
    Returning: RETURNING;
    Keyed: DUPLICATE FOREIGN PRIMARY UNIQUE;
    Key: KEY;
    With: WITH;
    Join: JOIN;
    Insert: INSERT MERGE;
    Delete: DELETE;
    Update: UPDATE;
    Lateral: LATERAL ONLY;
    On: ON;
    Clause: CONNECT EXCEPT FETCH GROUP HAVING INTERSECT LIMIT MINUS OFFSET ORDER OUTPUT QUALIFY
        UNION WHERE WINDOW;
    For: FOR;
    Using: USING;
    Define: ALTER CREATE DROP TRUNCATE;
    Object: DATABASE FUNCTION INDEX PROCEDURE SCHEMA SEQUENCE TABLE TRIGGER VIEW;
    If: IF;
    Exists: EXISTS;
    Call: CALL EXEC EXECUTE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_found_in_any_letter_case() {
        for expected in &KEYWORDS {
            assert_eq!(keyword(expected.text), Some(expected));
            assert_eq!(keyword(&expected.text.to_lowercase()), Some(expected));
        }
    }

    #[test]
    fn other_words_are_not_keywords() {
        for word in
            ["", "s", "orders", "selects", "status", "ÄND", "A_WORD_LONGER_THAN_ANY_KEYWORD"]
        {
            assert_eq!(keyword(word), None, "{word}");
        }
    }
}

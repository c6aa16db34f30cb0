//! [`check`]: refuses texts of queries that would make plans deeper than threads have stack for.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::Error;

/// Bytes of a query; a list of thousands of ids fits.
pub(crate) const BYTES_MAX: usize = 256 << 10;

/// Operators, keywords and joined tables of a query; the longest shipped rule has 340.
///
/// Each of them can make the plan one step deeper (`1 + 1 + ...`, `... UNION ALL ...`), and what
/// walks a plan calls itself at each step. Parentheses need no limit here: the parser has one.
pub(crate) const TERMS_MAX: usize = 3000;

/// Refuses a text that is too long, without a step of recursion.
///
/// # Errors
///
/// As [`tokens`].
pub(crate) fn check(sql: &str) -> Result<(), Error> {
    tokens(sql).map(drop)
}

/// Returns the tokens of a text that is not too long, without a step of recursion.
///
/// # Errors
///
/// [`Error::Length`] when it is, [`Error::Query`] when it is no row of tokens.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, Error> {
    let limited = |seen: usize, max: usize, unit: &'static str| {
        if seen <= max { Ok(()) } else { Err(Error::Length { seen, max, unit }) }
    };
    limited(sql.len(), BYTES_MAX, "bytes")?;
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| Error::Query(ParserError::from(error).to_string()))?;
    limited(terms(&tokens), TERMS_MAX, "operators and keywords")?;
    Ok(tokens)
}

/// Returns the words of a text, names and keywords, in lower case unless they are quoted: no table
/// is read whose name is not among them.
///
/// # Errors
///
/// As [`Session::query`](crate::Session::query), when it is too long, or no row of words.
pub fn words(sql: &str) -> Result<BTreeSet<String>, Error> {
    let tokens = tokens(sql)?;
    let words = tokens.into_iter().filter_map(|token| match token.token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value),
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    });
    Ok(words.collect())
}

/// Returns whether a text may ask for all columns: `SELECT *`, `t.*`, and what `NATURAL` joins by.
/// `count(*)` does not.
pub(crate) fn has_wildcard(sql: &str) -> bool {
    let Ok(tokens) = tokens(sql) else { return true };
    let tokens = tokens.into_iter().map(|token| token.token);
    let tokens: Vec<Token> = tokens.filter(|t| !matches!(t, Token::Whitespace(_))).collect();
    let asks = |pair: &[Token]| match pair {
        [Token::Comma | Token::Period | Token::RParen, Token::Mul] => true,
        [Token::Word(word), Token::Mul] => word.keyword != Keyword::NoKeyword,
        _ => false,
    };
    let is_natural =
        |token: &Token| matches!(token, Token::Word(w) if w.keyword == Keyword::NATURAL);
    tokens.windows(2).any(asks) || tokens.iter().any(is_natural)
}

fn terms(tokens: &[TokenWithSpan]) -> usize {
    // Whether tables are listed, by open parenthesis: there a comma is a join.
    let mut lists_tables = vec![false];
    let mut terms = 0;
    for TokenWithSpan { token, .. } in tokens {
        let is_join = lists_tables.last().is_some_and(|lists| *lists);
        terms += usize::from(is_term(token, is_join));
        match token {
            Token::LParen => lists_tables.push(false),
            Token::RParen if lists_tables.len() > 1 => {
                lists_tables.pop();
            }
            Token::Word(word) => {
                if let (Some(last), Some(lists)) = (lists_tables.last_mut(), lists(word.keyword)) {
                    *last = lists;
                }
            }
            _ => {}
        }
    }
    terms
}

/// Whether a clause lists tables, for the keywords that open one.
fn lists(keyword: Keyword) -> Option<bool> {
    match keyword {
        Keyword::FROM => Some(true),
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::GROUP
        | Keyword::HAVING
        | Keyword::ORDER
        | Keyword::WINDOW => Some(false),
        _ => None,
    }
}

/// Whether a token can make the plan deeper: all but literals, names and what stands between them.
fn is_term(token: &Token, is_join: bool) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Comma => is_join,
        Token::EOF
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::LParen
        | Token::RParen
        | Token::SemiColon => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_terms(sql: &str, expected: usize) {
        assert_eq!(terms(&tokens(sql).unwrap()), expected, "{sql}");
    }

    #[test]
    fn counts_what_can_make_a_plan_deeper() {
        check_terms("SELECT a1, b1, (1), 'x'", 1);
        check_terms("SELECT 1 + 1 + 1", 3);
        check_terms("SELECT a1 FROM t1, t2, (SELECT 1, 2) t3 WHERE b1 IN (1, 2)", 7);
        check_terms("SELECT t1.a1::INT", 4);
        check_terms("))))((((", 0);
    }

    #[test]
    fn finds_the_words_of_a_text() {
        let words = words("SELECT \"Upper\", 'text' FROM Spans -- facts").unwrap();
        assert_eq!(
            words.iter().map(String::as_str).collect::<Vec<_>>(),
            ["Upper", "from", "select", "spans"]
        );
    }

    #[test]
    fn refuses_long_and_deep_texts() {
        let refusal = |sql: &str| tokens(sql).unwrap_err().to_string();
        assert!(tokens(&format!("SELECT 1{}", " + 1".repeat(TERMS_MAX - 1))).is_ok());
        assert_eq!(
            refusal(&format!("SELECT 1{}", " + 1".repeat(TERMS_MAX))),
            "the query has 3001 operators and keywords: the limit is 3000"
        );
        assert!(refusal("SELECT 'a").contains("Unterminated string literal at Line: 1, Column: 8"));
        assert_eq!(
            refusal(&" ".repeat(BYTES_MAX + 1)),
            "the query has 262145 bytes: the limit is 262144"
        );
        let ids = vec!["'0123456789abcdef0123456789abcdef'"; 7000].join(",");
        assert!(tokens(&format!("SELECT 1 WHERE 'x' IN ({ids})")).is_ok());
    }
}

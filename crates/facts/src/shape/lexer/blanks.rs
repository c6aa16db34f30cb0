//! White space and comments.

use memchr::{memchr2, memmem};

use super::Lexer;
use crate::shape::system::Dialect;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

impl Lexer<'_> {
    pub(super) fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'-' | b'/' | b'#' if self.skip_comment() => {}
                0xef if self.bytes[self.at..].starts_with(BYTE_ORDER_MARK) => {
                    self.at += BYTE_ORDER_MARK.len();
                }
                _ if byte.is_ascii_control() => self.at += 1,
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) -> bool {
        let is_line = match (self.peek(0), self.peek(1)) {
            (Some(b'/'), Some(b'*')) => {
                self.at = self.comment_end();
                return true;
            }
            (Some(b'-'), Some(b'-')) => {
                // To MySQL `5--3` is a subtraction.
                let next = self.peek(2);
                self.dialect != Dialect::MySql || next.is_none_or(|b| b.is_ascii_whitespace())
            }
            (Some(b'/'), Some(b'/')) => {
                self.dialect == Dialect::Other && self.peek(2) != Some(b'*')
            }
            (Some(b'#'), next) => match self.dialect {
                Dialect::MySql => true,
                Dialect::Other => {
                    let is_operator = match next {
                        Some(b'-') => self.peek(2) != Some(b'-'),
                        next => next == Some(b'>'),
                    };
                    !self.starts_name(self.at) && !is_operator
                }
                _ => false,
            },
            _ => false,
        };
        if is_line {
            let rest = &self.bytes[self.at..];
            self.at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        }
        is_line
    }

    fn comment_end(&mut self) -> usize {
        let inside = self.at + 2;
        let flat = || memmem::find(&self.bytes[inside..], b"*/").map(|found| inside + found + 2);
        if self.comments_nest {
            if let Some(end) = self.nested_comment_end() {
                return end;
            }
            // Then they do not nest here: trying again at each comment would take quadratic time.
            if self.dialect == Dialect::Other {
                let end = flat();
                self.comments_nest = false;
                return end.unwrap_or(self.bytes.len());
            }
            return self.bytes.len();
        }
        flat().unwrap_or(self.bytes.len())
    }

    fn nested_comment_end(&self) -> Option<usize> {
        let mut at = self.at + 2;
        let mut depth = 1;
        while depth > 0 {
            at += memchr2(b'*', b'/', &self.bytes[at..])?;
            let step = match (self.bytes[at], self.bytes.get(at + 1)) {
                (b'*', Some(b'/')) => -1,
                (b'/', Some(b'*')) => 1,
                _ => 0,
            };
            depth += step;
            at += if step == 0 { 1 } else { 2 };
        }
        Some(at)
    }
}

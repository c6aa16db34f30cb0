//! [`Bars`]: what figures have to reach; each is told, and at the end those that are missed fail.

use anyhow::{Result, bail};

#[derive(Debug, Default)]
pub(super) struct Bars {
    missed: Vec<String>,
}

impl Bars {
    pub(super) fn at_least(&mut self, what: &str, found: f64, bar: f64) {
        self.note(what, found, "at least", bar, found >= bar);
    }

    pub(super) fn at_most(&mut self, what: &str, found: f64, bar: f64) {
        self.note(what, found, "at most", bar, found <= bar);
    }

    fn note(&mut self, what: &str, found: f64, side: &str, bar: f64, is_reached: bool) {
        let line = format!("{what}: {found:.2}, the bar is {side} {bar}");
        println!("  {} {line}", if is_reached { "reached" } else { "MISSED " });
        if !is_reached {
            self.missed.push(line);
        }
    }

    /// # Errors
    ///
    /// Those that were missed.
    pub(super) fn end(self) -> Result<()> {
        if !self.missed.is_empty() {
            bail!("missed:\n{}", self.missed.join("\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_fails() {
        let mut bars = Bars::default();
        bars.at_least("speed", 60.0, 60.0);
        bars.at_most("size", 60.0, 60.0);
        bars.at_least("speed", 59.9, 60.0);
        bars.at_most("size", f64::NAN, 60.0);
        assert_eq!(bars.missed.len(), 2);
        assert!(bars.end().is_err() && Bars::default().end().is_ok());
    }
}

//! [`both`]: two steps that need nothing of each other, at the same time.

use std::thread::{available_parallelism, scope};

/// Runs both, the second on a thread of its own where there is a core for it.
pub(crate) fn both<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let has_core = available_parallelism().is_ok_and(|cores| cores.get() > 1);
    if !has_core {
        return (first(), second());
    }
    scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        // A panic of one step is the pass's.
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::both;

    #[test]
    fn returns_what_both_return() {
        assert_eq!(both(|| 1, || "b"), (1, "b"));
    }
}

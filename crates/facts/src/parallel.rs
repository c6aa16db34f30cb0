//! Steps that need nothing of each other, at the same time: [`both`], and [`map`] over many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

/// Runs both, the second on a thread of its own where there is a core for it.
pub(crate) fn both<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    if !has_core() {
        return (first(), second());
    }
    scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        // A panic of one step is the pass's.
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn has_core() -> bool {
    available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Returns what each item comes to, in the order of the items. Whoever is done takes the next one.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || -> Vec<(usize, R)> {
        let number = || next.fetch_add(1, Ordering::Relaxed);
        let numbers = std::iter::repeat_with(number).take_while(|number| *number < items.len());
        numbers.map(|number| (number, work(&items[number]))).collect()
    };
    let (mut done, others) = both(some, some);
    done.extend(others);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{both, map};

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
        assert_eq!(map(&items, |item| item * 2), doubled);
        assert!(map(&[] as &[u32], |item| *item).is_empty());
    }

    /// Scenario: whoever took the first item is done with it last.
    /// Guarantee: its result comes first all the same.
    #[test]
    fn results_come_in_the_order_of_the_items_whoever_is_done_first() {
        if !super::has_core() {
            // One thread is done in their order.
            return;
        }
        let is_done = AtomicBool::new(false);
        let work = |item: &u32| {
            match item {
                0 => {
                    while !is_done.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                }
                _ => is_done.store(*item == 2, Ordering::Release),
            }
            *item
        };
        assert_eq!(map(&[0, 1, 2], work), [0, 1, 2]);
    }

    #[test]
    fn returns_what_both_return() {
        assert_eq!(both(|| 1, || "b"), (1, "b"));
    }
}

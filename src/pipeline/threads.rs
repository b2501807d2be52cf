//! Work on many things by a few threads.

use std::panic::resume_unwind;
use std::thread;

/// What `act` gives for each of these, in their order: by as many threads as may be, each with `least`
/// of them or more
///
/// Blocks until all have ended. A panic in one is one of the caller.
pub(super) fn side_by_side<T: Send, R: Send>(
    items: &mut [T],
    threads: usize,
    least: usize,
    act: impl Fn(&mut T) -> R + Sync,
) -> Vec<R> {
    let share = items.len().div_ceil(threads).max(least);
    if items.len() <= share {
        return items.iter_mut().map(act).collect();
    }
    let act = &act;
    thread::scope(|scope| {
        let begun: Vec<_> = items
            .chunks_mut(share)
            .map(|share| scope.spawn(move || share.iter_mut().map(act).collect::<Vec<R>>()))
            .collect();
        let results = begun.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => resume_unwind(panic),
        });
        results.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_is_worked_on_once_and_the_results_keep_their_order() {
        for length in [0, 1, 5, 16, 17, 100] {
            for threads in [1, 3, 8] {
                let mut items: Vec<usize> = (0..length).collect();
                let results = side_by_side(&mut items, threads, 4, |item| {
                    *item += 1;
                    *item * 10
                });
                assert_eq!(items, (1..=length).collect::<Vec<_>>());
                let expected: Vec<usize> = (1..=length).map(|item| item * 10).collect();
                assert_eq!(results, expected, "{length} by {threads}");
            }
        }
    }
}

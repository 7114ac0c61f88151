//! All that can come of a beginning.

use std::collections::HashMap;

use crate::model::{Scenario, Without, World, accidents, is_over, steps, wrong};

/// Tries everything; answers how many states there are, or what is wrong and the way there.
pub(crate) fn explore(scenario: Scenario, without: Without) -> Result<usize, String> {
    let first = World::new(scenario);
    let mut all = vec![first];
    let mut numbers = HashMap::from([(first, 0)]);
    let mut from = vec![0];
    // Who leads to a state without an accident.
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let way = |all: &[World], from: &[usize], end: usize| {
        let mut states = vec![end];
        while let Some(at) = states.last().copied().filter(|at| *at != 0) {
            states.push(from[at]);
        }
        let lines = states.iter().rev().map(|at| format!("{:?}\n", all[*at]));
        lines.collect::<String>()
    };
    let mut at = 0;
    while let Some(&world) = all.get(at) {
        if let Some(wrong) = wrong(world, scenario, without) {
            return Err(format!("{wrong}: {scenario:?}\n{}", way(&all, &from, at)));
        }
        let orderly = steps(world, scenario, without);
        let count = orderly.len();
        let next = orderly.into_iter().chain(accidents(world, scenario, without));
        for (number, next) in next.enumerate() {
            let id = *numbers.entry(next).or_insert_with(|| {
                all.push(next);
                from.push(at);
                before.push(Vec::new());
                all.len() - 1
            });
            if number < count {
                before[id].push(at);
            }
        }
        at += 1;
    }
    // From everywhere an end has to be in reach, without an accident to help.
    let mut ends: Vec<usize> = (0..all.len()).filter(|at| is_over(all[*at])).collect();
    let mut reaches = vec![false; all.len()];
    while let Some(at) = ends.pop() {
        if !std::mem::replace(&mut reaches[at], true) {
            ends.extend(&before[at]);
        }
    }
    match reaches.iter().position(|reaches| !reaches) {
        Some(at) => Err(format!("it hangs: {scenario:?}\n{}", way(&all, &from, at))),
        None => Ok(all.len()),
    }
}

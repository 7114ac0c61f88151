//! The protocol of a spawn, as a model of which every interleaving is tried: the parent, the child, the
//! intermediate process that makes it and the id-map helper, each of which may be killed at any moment.
//!
//! What is modelled is said in the head of `src/engine/slot.rs`. A step here is one that others can notice: an
//! access to the slot, a system call, a wake-up by the kernel. To show that the model sees what matters, each
//! part of the protocol is left out in turn, and has to be missed.

mod explore;
mod model;

use explore::explore;
use model::{EVERY_PART, Scenario, Without};

fn scenarios() -> impl Iterator<Item = Scenario> {
    (0..16).map(|bits: u8| Scenario {
        shares: bits & 1 != 0,
        middle: bits & 2 != 0,
        maps: bits & 4 != 0,
        clocks: bits & 8 != 0,
    })
}

#[test]
fn nothing_goes_wrong_whoever_dies() {
    let states: usize = scenarios()
        .map(|scenario| explore(scenario, Without::Nothing).unwrap_or_else(|way| panic!("{way}")))
        .sum();
    println!("{states} states");
    assert!(states > 5_000, "{states} states are fewer than there were: is something unreachable?");
}

#[test]
fn every_part_is_needed() {
    for without in EVERY_PART {
        let found: Vec<String> =
            scenarios().filter_map(|scenario| explore(scenario, without).err()).collect();
        let expected = match without {
            Without::Sleep | Without::OwnStack => "the parent runs on a stack that is in use",
            Without::Finished | Without::KilledAwaited | Without::HelperAwaited => {
                "memory is freed that is in use"
            }
            Without::Comparison
            | Without::CallingOff
            | Without::EndAwaited
            | Without::Tie
            | Without::ParentCheck => "it hangs",
            Without::Reload => "the helper serves nobody",
            Without::LifeCheck => "a stranger got the maps",
            Without::Look => "a spawn answered before its child was in the time namespace",
            Without::FailedAwaited => "a spawn failed, and its child is left",
            Without::Nothing => "",
        };
        let first = found.first().map(|way| way.lines().next().unwrap_or_default());
        assert!(found.iter().any(|way| way.starts_with(expected)), "{without:?}: {first:?}");
    }
}

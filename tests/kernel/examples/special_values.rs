//! Numbers with a special meaning in a raw call, as options of the examples.

use std::process::Command;

use crate::harness::cases;
use crate::machine::Need::{Example, Root};
use crate::machine::example;

cases! {
    the_examples_refuse_minus_one [Root, Example("unshare"), Example("nsenter")],
}

fn the_examples_refuse_minus_one() {
    let mut target = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = target.id().to_string();
    for (name, args) in [
        ("unshare", vec!["-S", "4294967295", "id", "-u"]),
        ("unshare", vec!["-G", "4294967295", "id", "-u"]),
        ("nsenter", vec!["-t", &pid, "-u", "-S", "4294967295", "id", "-u"]),
        ("nsenter", vec!["-t", &pid, "-u", "-G", "4294967295", "id", "-u"]),
    ] {
        let output = Command::new(example(name).unwrap()).args(&args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{name} {args:?}: {told}");
        assert!(told.contains("4294967295"), "{told}");
    }
    target.kill().unwrap();
    target.wait().unwrap();
}

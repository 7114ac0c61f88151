//! The names of the trials: each is the path of a function, and what documents call a trial is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::cases;
use crate::machine::Need::Sources;

cases! {
    each_is_the_path_of_its_function [],
    documents_name_trials_that_are_there [Sources],
    the_documentation_names_trials_that_are_there [],
}

fn each_is_the_path_of_its_function() {
    let mut seen = BTreeSet::new();
    for case in crate::cases().into_iter().flatten() {
        assert_eq!(case.path, (case.function)());
        assert!(seen.insert(case.name()), "{} is registered twice", case.name());
    }
}

/// Trials, and modules of trials, with all of their path.
fn documents_name_trials_that_are_there() {
    let cases = crate::cases();
    let names: Vec<_> = cases.into_iter().flatten().map(|case| case.name()).collect();
    let is_known =
        |name: &str| names.iter().any(|it| *it == name || it.starts_with(&format!("{name}::")));
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let files =
        ["", "docs", "tests"].into_iter().flat_map(|dir| fs::read_dir(root.join(dir)).unwrap());
    let mut count = 0;
    for file in files.map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|it| it != "md") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split('`').skip(1).step_by(2);
        let is_name = |word: &&str| {
            let end = format!("::{word}");
            let is_end = || word.contains("::") && names.iter().any(|it| it.ends_with(&end));
            word.starts_with("library::") || word.starts_with("examples::") || is_end()
        };
        for name in words.filter(is_name) {
            assert!(is_known(name), "{} names {name}", file.display());
            count += 1;
        }
    }
    assert!(count > 20, "hardly any was found");
}

/// There a part is enough, as on the command line.
fn the_documentation_names_trials_that_are_there() {
    let cases = crate::cases();
    let names: Vec<_> = cases.into_iter().flatten().map(|case| case.name()).collect();
    let text = include_str!("../../src/lib.rs").split("# Where this is proven").nth(1).unwrap();
    let table = text.split("# References").next().unwrap();
    let words = table.split('`').skip(1).step_by(2).filter(|word| word.contains("::"));
    let unknown: Vec<_> =
        words.clone().filter(|word| !names.iter().any(|it| it.contains(word))).collect();
    assert!(words.count() > 10, "hardly any was found");
    assert_eq!(unknown, [""; 0]);
}
